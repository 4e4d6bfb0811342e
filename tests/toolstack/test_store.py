"""The store's tree and transactions, without any transport."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from xenstored.store import NODES_MAX, Store
from xenstored.tree import Permission

GUEST = 5


@pytest.fixture
def store():
    return Store()


def home(store, domid=GUEST):
    """Make a guest's home, which the guest owns."""
    path = f"/local/domain/{domid}"
    store.live.mkdir(0, path)
    store.live.set_perms(0, path, [Permission(domid, 0)])
    return path


def test_write_makes_parents_and_read_returns_the_value(store):
    store.live.write(0, "/a/b/c", b"value")
    assert store.live.read(0, "/a/b/c") == b"value"
    assert store.live.directory(0, "/a")[0] == ["b"]
    assert store.live.read(0, "/a") == b""


def test_missing_node_is_enoent(store):
    with pytest.raises(FileNotFoundError):
        store.live.read(0, "/nothing")


def test_rm_takes_the_subtree_and_accepts_a_missing_leaf(store):
    store.live.write(0, "/a/b/c", b"")
    store.live.rm(0, "/a/b")
    assert store.live.directory(0, "/a")[0] == []
    store.live.rm(0, "/a/b")
    with pytest.raises(FileNotFoundError):
        store.live.rm(0, "/x/y")
    with pytest.raises(OSError):
        store.live.rm(0, "/")


def test_guest_cannot_read_or_write_what_it_was_not_given(store):
    store.live.write(0, "/secret", b"x")
    for action in (store.live.read, store.live.rm, store.live.mkdir):
        with pytest.raises(PermissionError):
            action(GUEST, "/secret")
    with pytest.raises(PermissionError):
        store.live.write(GUEST, "/secret/deeper", b"x")


def test_guest_owns_what_it_makes(store):
    path = home(store)
    store.live.write(GUEST, f"{path}/x", b"1")
    assert store.live.get_perms(GUEST, f"{path}/x")[0].domid == GUEST
    with pytest.raises(PermissionError):
        store.live.read(6, f"{path}/x")
    store.live.set_perms(GUEST, f"{path}/x", [Permission(GUEST, 0), Permission(6, 1)])
    assert store.live.read(6, f"{path}/x") == b"1"
    with pytest.raises(PermissionError):
        store.live.write(6, f"{path}/x", b"2")


def test_guest_cannot_give_a_node_away(store):
    path = home(store)
    store.live.write(GUEST, f"{path}/x", b"")
    with pytest.raises(PermissionError):
        store.live.set_perms(GUEST, f"{path}/x", [Permission(0, 0)])


def test_quota_stops_a_guest_and_freeing_helps(store):
    path = home(store)
    for index in range(NODES_MAX - 1):
        store.live.write(GUEST, f"{path}/{index}", b"")
    with pytest.raises(OSError, match="No space"):
        store.live.write(GUEST, f"{path}/more", b"")
    store.live.rm(GUEST, f"{path}/0")
    store.live.write(GUEST, f"{path}/more", b"")


def test_quota_holds_inside_a_transaction(store):
    path = home(store)
    transaction = store.start_transaction()
    with pytest.raises(OSError, match="No space"):
        for index in range(NODES_MAX):
            transaction.write(GUEST, f"{path}/{index}", b"")


def test_paths_may_be_deeper_than_pythons_stack(store):
    path = "/a" * 1500
    store.live.write(0, path, b"deep")
    assert store.live.read(0, path) == b"deep"
    store.live.rm(0, "/a")
    assert store.owned[0] == 1


def test_transaction_is_isolated_until_its_end(store):
    transaction = store.start_transaction()
    transaction.write(0, "/a", b"new")
    with pytest.raises(FileNotFoundError):
        store.live.read(0, "/a")
    assert transaction.read(0, "/a") == b"new"
    transaction.end(0)
    assert store.live.read(0, "/a") == b"new"


def test_conflict_is_eagain_and_changes_nothing(store):
    store.live.write(0, "/counter", b"1")
    transaction = store.start_transaction()
    transaction.read(0, "/counter")
    transaction.write(0, "/other", b"x")
    store.live.write(0, "/counter", b"2")
    with pytest.raises(BlockingIOError):
        transaction.end(0)
    assert store.live.directory(0, "/")[0] == ["counter"]


def test_transactions_in_different_places_both_succeed(store):
    store.live.mkdir(0, "/a")
    store.live.mkdir(0, "/b")
    first, second = store.start_transaction(), store.start_transaction()
    first.write(0, "/a/x", b"1")
    second.write(0, "/b/y", b"2")
    first.end(0)
    second.end(0)
    assert store.live.read(0, "/a/x") == b"1" and store.live.read(0, "/b/y") == b"2"


def test_transaction_sees_that_a_missing_node_appeared(store):
    transaction = store.start_transaction()
    with pytest.raises(FileNotFoundError):
        transaction.read(0, "/lock")
    transaction.write(0, "/lock", b"mine")
    store.live.write(0, "/lock", b"theirs")
    with pytest.raises(BlockingIOError):
        transaction.end(0)


PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(lambda n: "/" + "/".join(n))


class AgainstADictionary(RuleBasedStateMachine):
    """Any sequence of writes, removals and transactions behaves as one on a plain dictionary."""

    def __init__(self):
        super().__init__()
        self.store, self.model = Store(), {"/": b""}
        self.transaction = self.snapshot = None
        self.disturbed = False

    @staticmethod
    def apply_write(model, path, value):
        names = path.split("/")[1:]
        for end in range(1, len(names)):
            model.setdefault("/" + "/".join(names[:end]), b"")
        model[path] = value

    @staticmethod
    def apply_rm(model, path):
        for key in [k for k in model if k == path or k.startswith(path + "/")]:
            del model[key]

    @rule(path=PATHS, value=st.binary(max_size=3))
    def write(self, path, value):
        self.store.live.write(0, path, value)
        self.apply_write(self.model, path, value)
        self.disturbed = True

    @rule(path=PATHS)
    def remove(self, path):
        parent = path.rpartition("/")[0] or "/"
        if parent in self.model:
            self.store.live.rm(0, path)
            self.apply_rm(self.model, path)
            self.disturbed = True

    @rule()
    def begin(self):
        self.transaction = self.store.start_transaction()
        self.snapshot = dict(self.model)
        self.disturbed = False

    @rule(path=PATHS, value=st.binary(max_size=3))
    def write_in_transaction(self, path, value):
        if self.transaction:
            self.transaction.write(0, path, value)
            self.apply_write(self.snapshot, path, value)

    @rule(path=PATHS)
    def remove_in_transaction(self, path):
        parent = path.rpartition("/")[0] or "/"
        if self.transaction and parent in self.snapshot:
            self.transaction.rm(0, path)
            self.apply_rm(self.snapshot, path)

    @rule()
    def finish(self):
        if not self.transaction:
            return
        before = dict(self.model)
        try:
            self.transaction.end(0)
            if not self.disturbed:
                self.model = self.snapshot
            else:
                self.model = dump(self.store)
        except BlockingIOError:
            assert self.disturbed
            assert dump(self.store) == before
        self.transaction = None

    @invariant()
    def same_content(self):
        assert dump(self.store) == self.model

    @invariant()
    def ownership_is_counted(self):
        assert self.store.owned[0] == len(self.model)


def dump(store):
    """Return {path: value} of the live tree."""

    def walk(path, node):
        yield path or "/", node.value
        for name, child in node.children.items():
            yield from walk(f"{path}/{name}", child)

    return dict(walk("", store.root))


TestAgainstADictionary = AgainstADictionary.TestCase
TestAgainstADictionary.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
