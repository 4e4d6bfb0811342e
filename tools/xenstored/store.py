"""The store: what a client may do to the tree, alone or in a transaction.

`View` is where the operations live. The live store is one view; a transaction is another, over a
snapshot. A transaction records the generation of every node that it looked at, and what it changed;
it commits only if no such node has changed since, and then its changes are applied to the live
tree. So transactions are serializable, and one that interferes with nobody always succeeds.

Errors are OSErrors with the errno of the protocol.
"""

import errno
import os

from xenstored.tree import READ, WRITE, Node, Permission, deepest, lookup, put, split

NODE_BYTES_MAX = 2048
NODES_MAX = 1000
PERMS_MAX = 8


def refuse(number, path=""):
    """Return the OSError for an errno."""
    return OSError(number, os.strerror(number), path)


class Store:
    """The live tree, its generation counter, and how many nodes each domain owns."""

    def __init__(self):
        self.generation = 1
        self.root = Node(b"", (Permission(0, 0),), 1, {})
        self.owned = {0: 1}
        self.live = View(self)

    def next_generation(self):
        """Return a number that no node has had."""
        self.generation += 1
        return self.generation

    def count(self, before, after):
        """Move the ownership counts from the nodes in `before` to those in `after`."""
        for node in before:
            self.owned[node.owner] -= 1
        for node in after:
            self.owned[node.owner] = self.owned.get(node.owner, 0) + 1

    def start_transaction(self):
        """Return a Transaction over the tree as it is now."""
        return Transaction(self)


class View:
    """Operations on the live tree. `changes` is the list of (path, removed subtree or None) to fire
    watches for.
    """

    def __init__(self, store):
        self.store = store
        self.changes = []

    @property
    def root(self):
        """The tree that this view reads."""
        return self.store.root

    def commit(self, names, old, new):
        """Put `new` where `old` is; either may be None."""
        self.store.root = put(self.store.root, names, new)
        if old and new:
            self.store.count([old], [new])
        else:
            self.store.count(old.walk() if old else (), [new] if new else ())
            self.touch(names[:-1])

    def owned_by(self, domid):
        """Return how many nodes a domain owns."""
        return self.store.owned.get(domid, 0)

    def touch(self, names):
        """Renew the generation of a node whose set of children changed."""
        node = lookup(self.root, names)
        renewed = Node(node.value, node.perms, self.store.next_generation(), node.children)
        self.store.root = put(self.store.root, names, renewed)

    def look(self, names):
        """Return the node at `names` or None; a transaction remembers what it saw."""
        return lookup(self.root, names)

    def find(self, domid, path, access):
        """Return `(names, node)` if the domain has this access, or raise.

        Errors: ENOENT, no such node; EACCES, no right to it, or to the deepest node that exists.
        """
        names = split(path)
        node = self.look(names)
        judged = node or self.look(names[: deepest(self.root, names)[0]])
        if judged.access(domid) & access != access:
            raise refuse(errno.EACCES, path)
        if node is None:
            raise refuse(errno.ENOENT, path)
        return names, node

    def read(self, domid, path):
        """Return a node's value."""
        return self.find(domid, path, READ)[1].value

    def directory(self, domid, path):
        """Return the names of the children, and the generation that they have."""
        node = self.find(domid, path, READ)[1]
        return list(node.children), node.generation

    def get_perms(self, domid, path):
        """Return a node's permissions."""
        return self.find(domid, path, READ)[1].perms

    def write(self, domid, path, value):
        """Set a value, making the node and its parents if they are missing.

        Errors: EACCES; ENOSPC, the value is too long or the domain owns too many nodes.
        """
        if domid and len(value) + len(path) > NODE_BYTES_MAX:
            raise refuse(errno.ENOSPC, path)
        try:
            names, old = self.find(domid, path, WRITE)
        except FileNotFoundError:
            self.create(domid, path, value)
            return
        new = Node(value, old.perms, self.store.next_generation(), old.children)
        self.commit(names, old, new)
        self.changes.append((path, None))

    def mkdir(self, domid, path):
        """Make an empty node; one that exists stays as it is."""
        try:
            self.find(domid, path, WRITE)
        except FileNotFoundError:
            self.create(domid, path, b"")

    def create(self, domid, path, value):
        """Make a node and its missing parents; they inherit permissions, their maker owns them."""
        names = split(path)
        depth, parent = deepest(self.root, names)
        missing = len(names) - depth
        if domid and self.owned_by(domid) + missing > NODES_MAX:
            raise refuse(errno.ENOSPC, path)
        perms = parent.perms
        if domid:
            perms = (perms[0]._replace(domid=domid), *perms[1:])
        for end in range(depth + 1, len(names) + 1):
            content = value if end == len(names) else b""
            node = Node(content, perms, self.store.next_generation(), {})
            self.commit(names[:end], None, node)
        self.changes.append((path, None))

    def rm(self, domid, path):
        """Remove a node and all below it; one that is not there is no error if its parent is.

        Errors: EINVAL, the root; EACCES; ENOENT, not even the parent exists.
        """
        if path == "/":
            raise refuse(errno.EINVAL, path)
        try:
            names, node = self.find(domid, path, WRITE)
        except FileNotFoundError:
            if self.look(split(path)[:-1]) is None:
                raise
            return
        self.commit(names, node, None)
        self.changes.append((path, node))

    def set_perms(self, domid, path, perms):
        """Set permissions.

        Errors: EACCES, the caller does not own the node; EPERM, a guest gives the node away.
        """
        names, node = self.find(domid, path, 0)
        if domid and node.owner != domid:
            raise refuse(errno.EACCES, path)
        if domid and perms[0].domid != domid:
            raise refuse(errno.EPERM, path)
        if domid and len(perms) > PERMS_MAX:
            raise refuse(errno.ENOSPC, path)
        new = Node(node.value, tuple(perms), self.store.next_generation(), node.children)
        self.commit(names, node, new)
        self.changes.append((path, None))


class Transaction(View):
    """A view over a snapshot, with the record that its end needs."""

    def __init__(self, store):
        super().__init__(store)
        self.snapshot = store.root
        self.seen = {}
        self.replay = []
        self.created = 0

    @property
    def root(self):
        return self.snapshot

    def look(self, names):
        node = lookup(self.snapshot, names)
        if names not in self.seen:
            self.seen[names] = node.generation if node else None
        return node

    def commit(self, names, old, new):
        """Change the snapshot only, and remember how to change the live tree."""
        self.look(names)
        if old is None or new is None:
            self.look(names[:-1])
            self.created += 1 if new else 0
        self.snapshot = put(self.snapshot, names, new)
        self.replay.append((names, new))

    def owned_by(self, domid):
        return self.store.owned.get(domid, 0) + self.created

    def size(self):
        """Return how many nodes the transaction remembers to have seen or changed."""
        return len(self.seen) + len(self.replay)

    def end(self, domid):
        """Apply all changes to the live tree.

        Errors: EAGAIN, somebody changed what the transaction saw; ENOSPC, the domain would own too
                many nodes. In both cases nothing is applied.
        """
        live = self.store.live
        if domid and self.created and self.owned_by(domid) > NODES_MAX:
            raise refuse(errno.ENOSPC)
        for names, generation in self.seen.items():
            node = lookup(live.root, names)
            if (node.generation if node else None) != generation:
                raise refuse(errno.EAGAIN)
        for names, new in self.replay:
            old = lookup(live.root, names)
            if new is not None and old is not None:
                new = Node(new.value, new.perms, new.generation, old.children)
            live.commit(names, old, new)
        live.changes += self.changes
