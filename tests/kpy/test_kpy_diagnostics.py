"""Every error the compiler reports, each from a snippet that makes it."""

import os
import subprocess
import sys

import pytest

from tools.setup.patience import PATIENCE_S

STRUCT = """
@struct
class S:
    a: u32
    p: Ptr["S"] | None
    n: Ptr["S"]
    def method(self) -> u32:
        return self.a
"""
ENUM = """
@enum(u8)
class State:
    IDLE = 0
    BUSY = 1
"""
MFN = """
Mfn = newtype("Mfn", u64)
Pfn = newtype("Pfn", u64)
"""
COUNT = "count = static(u64)"

CASES = {  # name: (declarations, body of f, message, help)
    "undefined name": ("", "return portt", "name `portt` is not defined", "did you mean `port`?"),
    "no such attribute": (
        "import sys", "return sys.verion",
        "`sys` has no attribute `verion`", "`version`",
    ),
    "no such field": (STRUCT, "return u64(s.b)", "`S` has no attribute `b`", ""),
    "result type": (
        "", "return port",
        "expected `u64` (the result type), found `u32`", "`u64(port)`",
    ),
    "assignment type": ("", "x = 5\nx = port", "(the type of `x`, from line", "`u64(port)`"),
    "argument type": (
        "", "return g(offset)",
        "expected `u32` (parameter `x` of `g`), found `u64`", "`u32(offset)`",
    ),
    "too many arguments": ("", "return g(port, 1)", "`g` takes 1 argument (x), not 2", ""),
    "literal too large": ("", "x: u8 = 256", "256 does not fit in `u8`", ""),
    "negative literal": ("", "x: u8 = -1", "-1 does not fit in `u8`, which is unsigned", ""),
    "mixed widths": (
        "", "return port + offset",
        "cannot add `u32` and `u64`", "`u64(port) + offset`",
    ),
    "mixed comparison": (
        "", "return 1 if port < offset else 0",
        "cannot compare `u32` and `u64`", "u64(port)",
    ),
    "bool arithmetic": ("", "return (port > 1) + 1", "cannot add `bool`", "u64(flag)"),
    "newtypes do not mix": (
        MFN, "m = Mfn(1)\nreturn u64(m - Pfn(1))",
        "cannot subtract `Mfn` and `Pfn`", "u64(m)",
    ),
    "newtype multiplication": (MFN, "return u64(Mfn(1) * 2)", "cannot multiply `Mfn`", "u64("),
    "newtype conversion": (
        MFN, "m = Mfn(1)\np = Pfn(m)",
        "`Mfn` and `Pfn` do not mix", "`Pfn(u64(m))`",
    ),
    "pointer arithmetic": (STRUCT, "q = s + 1", "cannot add `Ptr[S]`", "index a slice"),
    "pointer index": (STRUCT, "q = s[0]", "a pointer cannot be indexed", "make a slice"),
    "guest arithmetic": (
        "", "g1 = Guest[u8](1)\ng2 = g1 + 1",
        "cannot add `Guest[u8]`", "`g.index(i)`",
    ),
    "nullable field": (STRUCT, "return u64(s.p.a)", "`s.p` may be null", "copy it to a local"),
    "nullable local": (
        STRUCT, "q = s.p\nreturn u64(q.a)",
        "`q` may be null", "`require(q is not None, …)`",
    ),
    "nullable argument": (STRUCT, "q = s.p\nh(q)", "expected `Ptr[S]`", "check it first"),
    "narrowing ends with assignment": (
        STRUCT, "q = s.p\nif q is not None:\n    q = q.p\n    return u64(q.a)\nreturn 0",
        "`q` may be null", "",
    ),
    "narrowing an exposed variable": (
        STRUCT,
        "q: Ptr[S] | None = s\nr = ref(q)\nassert q is not None\nstore(r, None)\nreturn u64(q.a)",
        "`q` may be null", "",
    ),
    "struct for pointer": (STRUCT, "t = load(s)\nh(t)", "expected `Ptr[S]`", "`ref(t)`"),
    "pointer for struct": (STRUCT, "t = load(s)\nt = s", "expected `S`", "`load(s)`"),
    "array for slice": (
        "", "a = Array[u8, 4]()\nsl: Slice[u8] = a",
        "expected `Slice[u8]`", "`a[:]`",
    ),
    "constant index": (
        "", "a = Array[u8, 4]()\nreturn u64(a[4])",
        "index 4 is outside `Array[u8, 4]`", "",
    ),
    "index by bool": (
        "", "a = Array[u8, 4]()\nreturn u64(a[port > 1])",
        "expected an integer, found `bool`", "",
    ),
    "shift too far": ("", "return offset << 64", "shift by 64 of a `u64`", ""),
    "division by zero": ("", "return offset // 0", "division by zero", ""),
    "signed division": (
        "", "a: i64 = 5\nb: i64 = 6\nc = a // b",
        "takes a positive literal only", "unsigned",
    ),
    "negating unsigned": ("", "return -offset", "cannot negate an unsigned `u64`", "wrapping_sub"),
    "missing value": ("", "if port > 1:\n    k = 4\nreturn k", "`k` may have no value here", ""),
    "value after loop": (
        "", "while port > 1:\n    k = 4\nreturn k",
        "`k` may have no value here", "",
    ),
    "unknown None": ("", "x = None", "type of `None` is not known", "annotate"),
    "thrown away": ("", "offset + 1", "computed and thrown away", ""),
    "no value": (STRUCT, "x = h(s)", "`h(s)` gives no value", ""),
    "not exhaustive": (
        ENUM, "st = State.IDLE\nmatch st:\n    case State.IDLE:\n        pass",
        "`State.BUSY`", "case _",
    ),
    "case twice": ("", "match port:\n    case 1 | 1:\n        pass", "handled already", ""),
    "case after default": (
        "", "match port:\n    case _:\n        pass\n    case 1:\n        pass",
        "wildcard makes", "",
    ),
    "capture": (
        "X = 1", "match port:\n    case X:\n        pass",
        "would capture any value", "`case Op.X:`",
    ),
    "guard": ("", "match port:\n    case 1 if offset:\n        pass", "no guard", "`if`"),
    "match type": (
        STRUCT, "match s:\n    case 1:\n        pass",
        "`match` takes an enum or an integer", "",
    ),
    "enum order": (ENUM, "return 1 if State.IDLE < State.BUSY else 0", "no `<`", ""),
    "enum and integer": (
        ENUM, "return 1 if State(offset) == 1 else 0",
        "cannot compare `State`", "",
    ),
    "unknown member": (ENUM, "st = State.IDEL", "no attribute `IDEL`", "`IDLE`"),
    "break outside": ("", "break", "outside loop", ""),
    "counting down": (
        "", "for i in range(offset, 0, -1):\n    pass",
        "counting down in the unsigned `u64`", "reversed",
    ),
    "iterate integer": ("", "for i in offset:\n    pass", "cannot be indexed or iterated", ""),
    "unknown struct field": (STRUCT, "t = S(b=1)", "struct `S` has no field `b`", ""),
    "positional struct": (STRUCT, "t = S(1)", "takes its fields by name", ""),
    "untyped function": (
        "def plain(x):\n    return x", "return plain(1)",
        "build-time Python", "annotate",
    ),
    "calling a value": ("", "return offset(1)", "cannot be called", ""),
    "method as value": (STRUCT, "x = s.method", "is a method: call it", ""),
    "module as value": ("import sys", "x = sys", "exists at build time only", ""),
    "returning nothing": ("", "return", "must return a `u64`", ""),
    "static condition": ("", "assert sizeof(u32) == 8", "this assertion never holds", ""),
    "lock": (STRUCT, "with s:\n    pass", "no `__enter__` and `__exit__`", ""),
    "not a place": ("", "q = ref(port + 1)", "not a place in memory", ""),
    "not a type": ("", "x: 5 = 3", "not a type", ""),
    "sizeof": ("", "return sizeof(5)", "not a type", ""),
    "unpacking": ("", "a, b, c = port, offset", "expected a tuple of 3", ""),
    "condition": (STRUCT, "t = load(s)\nif t:\n    pass", "a condition takes a bool", ""),
    "changing type": ("", "a: u8 = 1\na: u16 = 2", "`a` is a `u8`, since line", ""),
    "slice step": ("", "a = Array[u8, 4]()\nb = a[::2]", "a slice has no step", ""),
    "list without type": ("", "a = [1, 2]", "needs an array type", "annotate"),
    "list length": ("", "a: Array[u8, 3] = [1, 2]", "2 elements for `Array[u8, 3]`", ""),
    "struct equality": (
        STRUCT, "t = load(s)\nreturn 1 if t == t else 0",
        "`S` has no `==`", "field by field",
    ),
    "atomic type": (STRUCT, "atomic_load(s)", "no type for an atomic", ""),
    "container field": (STRUCT, 'q = container_of(s, S, "zz")', "has no field `zz`", ""),
    "require in expression": ("", "x = require(port, 1)", "a statement of its own", ""),
    "truncate": (STRUCT, "x = truncate(u8, s)", "cannot truncate `Ptr[S]`", ""),
    "static without global": (
        COUNT, "count = 5",
        "`count` is a static of this module: this would make a local", "write `global count` first",
    ),
    "static as annotated local": (COUNT, "count: u64 = 5", "`count` is a static", "`global count`"),
    "static as loop variable": (
        COUNT, "for count in range(3):\n    pass",
        "`count` is a static", "call the local otherwise",
    ),
    "static unpacked to": (COUNT, "count, x = 1, 2", "`count` is a static", "`global count`"),
    "static augmented without global": (
        COUNT, "count += 1",
        "`count` is a static of this module, and no variable of `f`", "write `global count` first",
    ),
    "constant augmented": (
        "LIMIT = 5", "LIMIT += 1",
        "`LIMIT` is a constant of the module and cannot change", "LIMIT = static(u64, …)",
    ),
    "global constant": (
        "LIMIT = 5", "global LIMIT\nLIMIT += 1",
        "`global LIMIT`: `LIMIT` is no static", "`LIMIT = static(u64)` at module level",
    ),
    "global unknown": (
        "", "global nowhere\nnowhere = 1",
        "`nowhere` is not defined in this module", "static(u64)",
    ),
    "used before assignment": (
        "", "x = y\ny = port\nreturn u64(y)",
        "`y` is used before it has a value", "",
    ),
}  # fmt: skip

FRAME = """
def g(x: u32) -> u64:
    return u64(x)
{more}
def f(port: u32, offset: u64{struct}) -> u64:
{body}
    return 0
"""


@pytest.mark.parametrize("name", CASES)
def test_error(errors, name):
    declarations, body, message, advice = CASES[name]
    has_struct = declarations == STRUCT
    more = declarations + ("\ndef h(s: Ptr[S]) -> None:\n    pass\n" if has_struct else "")
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    shown = errors(
        FRAME.format(more=more, struct=", s: Ptr[S]" if has_struct else "", body=indented)
    )
    assert message in shown
    assert advice in shown
    assert shown.count("error:") == 1, shown


def test_layout_of_an_error(errors):
    shown = errors("""
        def f(port: u32,
              offset: u64) -> u64:
            slot = port + offset
            return slot
    """)
    path = shown.split(":", 1)[0]
    assert shown.splitlines() == [
        f"{path}:4:12: error: cannot add `u32` and `u64`",
        "    4 |     slot = port + offset",
        "      |            ^^^^   ~~~~~~ `u64`, from line 3",
        "  help: convert explicitly, `u64(port) + offset`",
    ]


def test_all_errors_of_all_functions_are_reported(errors):
    shown = errors("""
        def f(a: u32) -> u64:
            x = unknown_one
            y = unknown_two
            return a
        def g(a: u32) -> u64:
            return missing(x)
    """)
    assert shown.count("error:") == 4


def test_one_mistake_is_one_error(errors):
    shown = errors("""
        def f(a: u32) -> u64:
            x = unknown
            y = x + 1
            return u64(y) + x
    """)
    assert shown.count("error:") == 1


def test_recursion(errors):
    shown = errors("""
        def even(n: u64) -> bool:
            return True if n == 0 else odd(n - 1)
        def odd(n: u64) -> bool:
            return False if n == 0 else even(n - 1)
    """)
    assert "recursion: `even` -> `odd` -> `even`" in shown
    assert shown.count("error:") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(x: u64) -> u64:\n    if x:\n        return 1", "must return a `u64` on every path"),
        ("def f(x: u64) -> Never:\n    pass", "must never return"),
        ("def f(x: u64) -> Never:\n    return", "declared never to return"),
        ("def f(x: u64) -> None:\n    return x", "`f` returns no value"),
        ("def f(x: u64 = 3) -> None:\n    pass", "without defaults"),
        ("def f(x: int) -> None:\n    pass", "`int` is not a kernel Python type"),
        ('def f(x: Ptr["Missing"]) -> None:\n    pass', "name 'Missing' is not defined"),
        ("@struct\nclass A:\n    a: Array[u8, 9]\n    b: Missing", "name 'Missing' is not defined"),
        ('@struct\nclass A:\n    b: "Missing"\nassert sizeof(A)', "field `b` of `A`"),
        ('@struct\nclass A:\n    a: "A"\nassert sizeof(A)', "contains itself"),
        ("@struct(size=4)\nclass A:\n    a: u64\nassert sizeof(A)", "more than size=4"),
        ("def f(:\n    pass", "invalid syntax"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("x = u8(256)", "256 does not fit in u8"),
    ],
)
def test_declaration_errors(errors, text, message):
    shown = errors(text)
    assert message in shown
    assert shown.count("error:") == 1, shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = static(Array[u8, 2], [1, 2, 3])", "index 2 is outside"),
        ("x = static(u8, 300)", "300 does not fit in `u8`"),
        ('x = static(u8, "a")', "expected an integer"),
        ("def f() -> None:\n    pass\nx = static(Fn[[u64], u64], f)", "`f` is a `Fn[[], None]`"),
        ("@struct\nclass A:\n    a: u8\nx = static(A, {'b': 1})", "struct `A` has no field `b`"),
        ("y = static(u8)\nx = static(Ptr[u16], y)", "is a `u8`, not a `u16`"),
    ],
)
def test_bad_initial_values(jit, text, message):
    import kpy.jit

    with pytest.raises(kpy.jit.CompileError) as caught:
        jit(text)
    assert message in str(caught.value)
    assert "initial value of `x`" in str(caught.value)


def test_cycles_of_imports(module, jit):
    module("""
        from cycle_two import second, Thing
        def first(t: Ptr[Thing]) -> u64:
            return second(t)
    """, "cycle_one")  # fmt: skip
    module("""
        from cycle_one import first
        @struct
        class Thing:
            x: u64
        def second(t: Ptr[Thing]) -> u64:
            return t.x
        def other(t: Ptr[Thing]) -> u64:
            return first(t)
    """, "cycle_two")  # fmt: skip
    p = jit("""
        import cycle_one
        from cycle_two import Thing, other
        def go() -> u64:
            t = Thing(x=4)
            return other(ref(t))
    """)
    assert p.go() == 4


def test_one_symbol_declared_in_two_ways(module, errors):
    from kpy.check import checker, verify
    from kpy.front import modules
    from kpy.front.program import Program

    name = module("""
        @extern("copy")
        def one(a: u64) -> u64: ...
        @extern("copy")
        def two(a: u32) -> u64: ...
        @export("same")
        def three() -> None:
            pass
        @export("same")
        def four() -> None:
            pass
    """)
    program = Program()
    roots = modules.declared_instances(program, modules.load(program, name))
    verify.symbols(program, checker.check_all(program, roots))
    shown = program.diagnostics.render()
    assert "`copy` is declared differently at" in shown
    assert "`same` is defined at" in shown


CIRCLE = {
    "low": """from kpy import *
from high import User
@struct
class Low:
    a: u32
    user: Ptr[User] | None
COUNT = 2
""",
    "high": """from kpy import *
from low import COUNT, Low
@struct
class User:
    first: u8
    low: Low
    own: "Own"
    more: Array[Low, COUNT]
{}
@struct
class Own:
    a: u16
def second(user: Ptr[User]) -> u32:
    return user.more[1].a + user.low.a
""",
}


def check_circle(folder, claim):
    """Check `low`, whose import imports `high` first."""
    for name, text in CIRCLE.items():
        (folder / f"{name}.py").write_text(text.format(claim) if "{}" in text else text)
    done = subprocess.run(
        [sys.executable, "-m", "kpy", "check", "low.py", "high.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    return done.returncode, done.stdout + done.stderr


def test_structs_by_value_from_a_module_that_is_half_imported(tmp_path):
    claims = """assert sizeof(User) == 64 and alignof(User) == 8
assert offsetof(User, "more") - offsetof(User, "own") == 8 and 2 * sizeof(User) <= 4096 // 2"""
    assert check_circle(tmp_path, claims) == (0, "ok: 1 functions\n")


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ("assert sizeof(User) == 40", "high.py:9:1: error: this does not hold, now that all"),
        ('assert offsetof(User, "nothing") == 0', "has no field `nothing`"),
        ("words = Array[u8, sizeof(User)]", "the size of `"),
    ],
)
def test_a_size_that_is_needed_in_a_circle_of_imports(tmp_path, claim, message):
    code, shown = check_circle(tmp_path, claim)
    assert code != 0
    assert message in shown


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        (
            "case SEND:\n            return 1\n        case _:",
            "name capture 'SEND' makes remaining",
        ),
        (
            "case 1:\n            return 1\n        case SEND:",
            "`case SEND` would capture any value",
        ),
    ],
)
def test_a_constant_in_a_case_has_a_dot(errors, cases, message):
    """Python itself refuses or misreads a bare name there."""
    shown = errors(
        "SEND = 4\ndef f(x: u64) -> u64:\n    match x:\n"
        f"        {cases}\n            return 2\n    return 0\n"
    )
    assert message in shown
    assert "`case ids.SEND:`, or in a class of the module, `class Op:` with `SEND = …`" in shown
    assert shown.count("error:") == 1


def test_the_constants_of_a_class_are_cases(jit):
    program = jit("""
        class Op:
            SEND, CLOSE = 4, 5
        def f(x: u64) -> u64:
            match x:
                case Op.SEND | Op.CLOSE:
                    return Op.SEND * 10
                case _:
                    return 2
    """)
    assert [program.f(x) for x in (4, 5, 6)] == [40, 40, 2]
