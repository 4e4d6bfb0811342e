"""Optional newtypes: `Mfn | None` in the memory of an `Mfn`."""

import sys

import pytest

DECLARATIONS = """
Mfn = newtype("Mfn", u64, none=(1 << 64) - 1)
Vaddr = newtype("Vaddr", u64, none=0)
Port = newtype("Port", u16, none=0xFFFF)
Pfn = newtype("Pfn", u64)
@struct
class Table:
    frame: Mfn | None
    page: Vaddr | None
    port: Port | None
    ports: Array[Port | None, 3]
"""

PROGRAM = (
    DECLARATIONS
    + """
assert sizeof(Table) == 24 and offsetof(Table, "ports") == 18
root = static(Mfn | None)
guard = static(Mfn | None, Mfn(7))
tables = static(Array[Table, 2], [
    {"frame": None, "port": None, "ports": [None, 4, None]},
    {"frame": Mfn(3), "page": 5, "port": 9, "ports": [1, 2, 3]},
])
def find(n: u64) -> Mfn | None:
    return Mfn(n) if n < 10 else None
def convert(n: u64) -> Mfn | None:
    return Mfn(n)
def use(mfn: Mfn) -> u64:
    return u64(mfn) + 100
def through_if(n: u64) -> u64:
    mfn = find(n)
    if mfn is None:
        return 1
    return use(mfn)
def through_require(n: u64) -> u64:
    mfn = find(n)
    require(mfn is not None, 2)
    return use(mfn)
def through_assert(n: u64) -> u64:
    mfn = find(n)
    assert mfn is not None
    return use(mfn)
def through_and(n: u64) -> bool:
    mfn = find(n)
    return mfn is not None and use(mfn) == 103
def through_or(n: u64) -> bool:
    mfn = find(n)
    return mfn is None or use(mfn) == 103
def through_choice(n: u64) -> u64:
    mfn = find(n)
    return use(mfn) if mfn is not None else 0
def through_while(n: u64) -> u64:
    mfn, count = find(n), u64(0)
    while mfn is not None:
        count += use(mfn)
        mfn = find(u64(mfn) + 4)
    return count
def both(n: u64) -> tuple[Mfn | None, Port | None]:
    return find(n), Port(5) if n == 0 else None
def sum_both(n: u64) -> u64:
    mfn, port = both(n)
    return u64(mfn is None) * 10 + u64(port is None)
def store_field(t: Ptr[Table], n: u64) -> None:
    t.frame = find(n)
    t.page = None
    t.ports[1] = None
    t.ports[2] = Port(6)
def read_field(t: Ptr[Table]) -> u64:
    frame = t.frame
    if frame is not None:
        return use(frame)
    return 0
def make(n: u64) -> Table:
    return Table(frame=find(n), port=None, ports=[Port(1), None, Port(3)])
def made_page() -> bool:
    return make(1).page is None
def take_root() -> u64:
    mfn = root
    return 0 if mfn is None else use(mfn)
def set_root(n: u64) -> None:
    global root
    root = find(n)
def default(mfn: Mfn | None) -> Mfn:
    return Mfn(99) if mfn is None else mfn
def same(one: Mfn | None, two: Mfn) -> bool:
    return one == two
def literal() -> Mfn | None:
    return 5
def swap(t: Ptr[Table], new: Mfn | None) -> Mfn | None:
    return atomic_xchg(ref(t.frame), new)
def claim(t: Ptr[Table], new: Mfn) -> bool:
    _, done = atomic_cas(ref(t.frame), None, new)
    return done
def free_ports(t: Ptr[Table]) -> u64:
    count = u64(0)
    for port in t.ports:
        if port is None:
            count += 1
    return count
def still_none(n: u64) -> bool:
    mfn: Mfn | None = Mfn(n)
    take = use(mfn)
    return mfn is None and take != 0
def fill_ports(t: Ptr[Table]) -> None:
    fill(t.ports[:], None)
def callback(n: u64) -> Mfn | None:
    return None
def call_back(n: u64) -> bool:
    return callback(n) is None
"""
)


@pytest.fixture
def program(jit):
    return jit(PROGRAM)


def test_results_and_parameters(program):
    assert program.find(3) == 3
    assert program.find(10) is None
    assert program.both(0) == (0, 5)
    assert program.both(11) == (None, None)
    assert program.default(None) == 99
    assert program.default(4) == 4
    assert program.literal() == 5
    assert program.sum_both(0) == 0
    assert program.sum_both(11) == 11


def test_narrowing(program, panics):
    for function, missing in (
        (program.through_if, 1),
        (program.through_require, 2),
        (program.through_choice, 0),
    ):
        assert (function(3), function(12)) == (103, missing)
    assert program.through_assert(3) == 103
    panics("mfn is not None", program.through_assert, 12)
    assert [program.through_and(n) for n in (3, 4, 12)] == [True, False, False]
    assert [program.through_or(n) for n in (3, 4, 12)] == [True, False, True]
    assert program.through_while(1) == 101 + 105 + 109
    assert program.free_ports(program.tables[0]) == 2


def test_a_plain_number_of_the_value_that_stands_for_none_converts_to_none(program):
    assert program.convert((1 << 64) - 1) is None
    assert program.same(None, (1 << 64) - 1)
    assert not program.same(None, 5)
    assert program.same(5, 5)


def test_memory(program):
    assert program.root.value is None
    program.set_root(4)
    assert program.take_root() == 104
    assert program.guard.value == 7
    one, two = program.tables[0], program.tables[1]
    assert (one.frame, one.page, one.port, list(one.ports)) == (None, None, None, [None, 4, None])
    assert (two.frame, two.page, two.port, list(two.ports)) == (3, 5, 9, [1, 2, 3])
    program.store_field(two, 11)
    assert (two.frame, two.page, list(two.ports)) == (None, None, [1, None, 6])
    assert program.read_field(two) == 0
    two.frame = 8
    assert program.read_field(two) == 108
    two.frame = None
    assert bytes(two)[:8] == b"\xff" * 8
    assert program.new(sys.modules[program._module].Table).frame == 0  # zeroed: no None
    assert program.made_page()
    program.set_root(11)
    assert program.root.value is None
    assert program.take_root() == 0
    program.fill_ports(two)
    assert list(two.ports) == [None] * 3


def test_atomic_operations(program):
    table = program.tables[0]
    assert program.claim(table, 6)
    assert not program.claim(table, 7)
    assert program.swap(table, None) == 6
    assert table.frame is None


def test_a_python_replacement_may_take_and_return_none(module):
    import kpy.jit

    name = module(PROGRAM)
    program = kpy.jit.load(name, replace={f"{name}.callback": lambda n: 4 if n else None})
    assert program.call_back(0)
    assert not program.call_back(1)


@pytest.mark.parametrize("name", ["Mfn", "Vaddr"])
def test_the_code_is_that_of_a_number_that_means_nothing(instructions, name):
    text = """
@noinline
def find(n: u64) -> {optional}:
    return {plain}(n * 3) if n else {none}
def f(n: u64) -> u64:
    x = find(n)
    return u64(x) + 1 if x != {none} else n
"""
    number = "(1 << 64) - 1" if name == "Mfn" else "0"
    by_hand = text.format(optional=name, plain=name, none=f"{name}({number})")
    with_none = text.format(optional=f"{name} | None", plain=name, none="None")
    for function in ("find", "f"):
        assert instructions(DECLARATIONS + by_hand, function) == instructions(
            DECLARATIONS + with_none, function
        )


@pytest.mark.parametrize(
    ("body", "message", "advice"),
    [
        ("return u64(mfn)", "cannot convert `Mfn | None` to `u64`", "`if mfn is None: return …`"),
        ("return use(mfn)", "expected `Mfn` (parameter `mfn` of `use`), found `Mfn | None`",
         "`mfn` may be None: check it first"),
        ("return u64(mfn + 1)", "cannot add `Mfn | None`", "`mfn is not None`"),
        ("return use(t.frame)", "found `Mfn | None`", "a store or call ends what is known"),
        ("a = Array[u8, 4]()\nreturn u64(a[mfn])", "expected an integer", "`mfn is not None`"),
        ("if mfn:\n    return 1", "a condition takes a bool", "`mfn is not None`"),
        ("x: Pfn | None = None", "`Pfn` has no value to spare for None", 'newtype("Pfn", u64'),
        ("x: u64 | None = None", "only a pointer, or a newtype that names its None", ""),
        ("return 1 if Mfn(n) is None else 0", "and `Mfn(n)` is a `Mfn`", "a `Mfn` is never None"),
        ("if mfn < Mfn(4):\n    return 1", "cannot compare `Mfn | None`", "`mfn is not None`"),
        ("x = Table(page=None)", "field `frame` of `Mfn | None` must be given", ""),
        ("x = Array[Mfn | None, 2]()", "would not be None", ""),
        ("if mfn is not None:\n    mfn = None\n    return use(mfn)", "found `Mfn | None`", ""),
        ("if mfn is not None:\n    set_none(ref(mfn))\n    return use(mfn)", "found `Mfn |", ""),
        ("while n:\n    use(mfn)\n    mfn = find(n)", "found `Mfn | None`", ""),
    ],
)  # fmt: skip
def test_errors(errors, body, message, advice):
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    shown = errors(
        DECLARATIONS
        + "def use(mfn: Mfn) -> u64:\n    return u64(mfn)\n"
        + "def find(n: u64) -> Mfn | None:\n    return None\n"
        + "def set_none(p: Ptr[Mfn | None]) -> None:\n    store(p, None)\n"
        + f"def f(mfn: Mfn | None, t: Ptr[Table], n: u64) -> u64:\n{indented}\n    return 0\n"
    )
    assert message in shown
    assert advice in shown
    assert shown.count("error:") == 1, shown


def test_a_loop_variable_is_not_known_from_before(errors):
    shown = errors(
        DECLARATIONS
        + """
def use(port: Port) -> u64:
    return u64(port)
def f(t: Ptr[Table], port: Port | None) -> u64:
    require(port is not None, 1)
    for port in t.ports:
        use(port)
    return 0
"""
    )
    assert "found `Port | None`" in shown


@pytest.mark.parametrize(
    "text",
    [
        'x = newtype("Mfn", u16, none=1 << 16)',
        'Mfn = newtype("Mfn", u64)\ndef f(m: Mfn | None) -> None:\n    pass',
        'Mfn = newtype("Mfn", u64, none=3)\n@struct\nclass A:\n    m: Mfn | u64',
    ],
)
def test_errors_of_declarations(errors, text):
    assert errors(text).count("error:") == 1


def test_a_static_that_would_not_start_as_none(jit):
    import kpy.jit

    with pytest.raises(kpy.jit.CompileError) as caught:
        jit(DECLARATIONS + "x = static(Array[Mfn | None, 2])\n")
    shown = "`Array[Mfn | None, 2]` must be given: zeroed, its `Mfn | None` would not be None"
    assert shown in str(caught.value)
