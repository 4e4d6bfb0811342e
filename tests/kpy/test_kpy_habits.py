"""What Python programmers try first is refused in one message that says how it is done here."""

import pytest

STRUCT = """
@struct
class S:
    a: u32
    p: Ptr["S"] | None
    x: Ptr[u64] | None
    def method(self) -> u32:
        return self.a
"""
FRAME = """
def g(x: u32) -> u64:
    return u64(x)
{more}
def f(port: u32, offset: u64, s: Ptr[S]) -> u64:
{body}
    return 0
"""
LOOP = "write a loop"

BODIES = {  # name: (declarations, body of f, message, help)
    "print": ("", "print(port)", "no `print`", 'printk(f"…")'),
    "input": ("", "x = input()", "no `input`", "libos.keyboard"),
    "open": ("", "with open('x') as f:\n    pass", "no `open`", "drivers.blkfront"),
    "str": ("", "x = str(port)", "no `str`", "formatter"),
    "int": ("", "x = int(port)", "no `int`", "`u64(x)`"),
    "sum": ("", "x = sum(port)", "no `sum`", LOOP),
    "isinstance": ("", "x = isinstance(port, u32)", "no `isinstance`", "one type"),
    "exception class": ("", "x = ValueError(1)", "no `ValueError`", "error code"),
    "unknown builtin": ("", "x = callable(port)", "no `callable`", ""),
    "list append": ("L = []", "L.append(1)", "`L.append` cannot be called", "static"),
    "list element": (
        "L = [1]", "L[0] = 1", "not a place in memory", "`L = static(Array[T, N], …)`",
    ),
    "run-time index": ("L = [1]", "return L[offset]", "`offset` at run time only", "static("),
    "iterated list": (
        "L = [1]", "for x in L:\n    pass", "build time only", "static(Array[T, N], L)",
    ),
    "iterated tuple": ("", "for x in (1, 2):\n    pass", "cannot be indexed or iterated", "array"),
    "pointer index": ("", "return s[0]", "a pointer cannot be indexed", "`load(s)` is the value"),
    "maybe-null index": (
        "", "q = s.x\nreturn q[0]",
        "`q` may be null, and a pointer cannot be indexed", "check it first; `load(q)`",
    ),
    "maybe-null field": (
        "", "return u64(s.p.a)",
        "`s.p` may be null", "check it first, `if s.p is None: return …`",
    ),
    "del": ("", "del port", "no `del`", "a local variable ends with its function"),
    "star target": ("", "x, *y = port, offset", "no `*` among the targets", "`a[1:]`"),
    "nested targets": ("", "x, (y, z) = port, offset", "no nested tuple among the", "name each"),
    "list target": ("", "[x, y] = port, offset", "are a tuple", "leave the brackets out"),
    "star argument": ("", "return g(*port)", "no `*` here", "`Slice[T]`"),
    "double star": ("", "return g(**port)", "keyword arguments", "in order, `g(x)`"),
    "keyword": ("", "return g(x=port)", "keyword arguments are for struct", "in order, `g(x)`"),
    "too few": ("", "return g()", "`g` takes 1 argument (x), not 0", ""),
    "text ==": ("", "x = 'a'\nif x == 'a':\n    pass", "no `==`", "`same_text` of libos.text"),
    "text +": ("", "x = 'a' + 'b'", "cannot add `Slice[u8]`", "formatter"),
    "text %": ("", "x = 'a%d' % port", "cannot apply `%`", "formatter"),
    "text method": ("", "x = 'a'.upper()", "has no attribute `upper`", "formatter"),
    "in a text": ("", "x = port in 'abc'", "`in` takes values known at build", "a loop searches"),
    "in an array": (
        "", "a = Array[u8, 4]()\nx = port in a",
        "not a `Array[u8, 4]`", "`port in (A, B, C)`",
    ),
    "in a range": ("", "x = port in range(3)", "`in` takes no `range`", "`0 <= port < 3`"),
    "is": ("", "x = port is 5", "`is` compares pointers", "`port == 5`"),
    "is not": ("", "x = port is not 5", "`is` compares pointers", "`port != 5`"),
    "or of integers": ("", "x = port or 5", "`and` and `or` give a bool", "`a if port else b`"),
    "f-string": ("", "x = f'{port}'", "an f-string is the argument of a formatter", ""),
    "dict": ("", "x = {1: port}", "no dict values", "an array that the key indexes"),
    "set": ("", "x = {1, port}", "no set values", "`x in (a, b)`"),
    "list comprehension": ("", "x = [i for i in range(3)]", "no list comprehension", LOOP),
    "set comprehension": ("", "x = {i for i in range(3)}", "no set comprehension", LOOP),
    "dict comprehension": ("", "x = {i: 1 for i in range(3)}", "no dict comprehension", LOOP),
    "generator": ("", "x = (i for i in range(3))", "no generator expression", LOOP),
    "lambda": ("", "x = lambda y: y", "no `lambda`", "at module level"),
    "walrus": ("", "if (x := port):\n    pass", "no `:=`", "a statement of its own"),
    "float": ("", "x = 1.5", "no float values", "a smaller unit, such as ns"),
    "float type": ("", "x: float = 1", "`float` is not a kernel Python type", "smaller unit"),
    "complex": ("", "x = 1j", "no complex values", ""),
    "division": ("", "return offset / 2", "kernel Python has no `/`", "`//`"),
    "/=": ("", "offset /= 2", "kernel Python has no `/`", "`//`"),
    "power": ("", "return 2 ** offset", "no `**` between values known", "`bit(n)`"),
    "negative power": ("", "x = 2 ** -3", "is no integer", ""),
    "huge": ("", "x = 10 ** 10 ** 10", "too large a number", ""),
    "@": ("", "x = offset @ 2", "no `@`", LOOP.removeprefix("write ").replace("a loop", "loop")),
    "yield": ("", "yield port", "no `yield`", "keep the state in a struct"),
    "yield from": ("", "yield from port", "no `yield`", "keep the state in a struct"),
    "local class": ("", "class X:\n    pass", "no classes inside functions", "module level"),
    "local function": (
        "", "def inner(x: u32) -> u32:\n    return x\nreturn u64(inner(port))",
        "no functions inside functions", "move it to module level",
    ),
    "local import": ("", "import sys\nx = sys", "no imports inside functions", "circles"),
    "local async": ("", "async def x() -> None:\n    pass", "no `async`", "wait_event"),
    "nonlocal": ("", "a = b = 1", "one target for each assignment", "`b = 1`, then `a = b`"),
    "try": ("", "try:\n    pass\nexcept ValueError:\n    pass", "no exceptions", "error code"),
    "try *": ("", "try:\n    pass\nexcept* OSError:\n    pass", "no exceptions", "error code"),
    "raise": ("", "raise ValueError('x')", "no exceptions", '`panic("text")`'),
    "assert text": ("", "assert port, f'{port}'", "known at build time", "a failed comparison"),
    "assert number": ("", "assert port, 5", "is a string known at build time", ""),
    "while else": ("", "while port:\n    break\nelse:\n    pass", "no `else` of a loop", "behind"),
    "for else": (
        "", "for i in range(3):\n    pass\nelse:\n    pass", "no `else` of a loop", "behind",
    ),
    "len of an integer": ("", "return len(port)", "`u32` has no length", "`sizeof(T)`"),
    "len of a struct": ("", "return len(s)", "`Ptr[S]` has no length", "arrays, slices"),
    "slice of an integer": ("", "return port[1:2]", "cannot be indexed", "takes bits of"),
    "negative index": ("", "a = Array[u8, 4]()\nx = a[-1]", "index -1 is outside", "len(a) - 1"),
    "negative bound": ("", "a = Array[u8, 4]()\nx = a[-2:]", "not negative", "`len(a) - n`"),
    "slice assignment": (
        "", "a = Array[u8, 4]()\na[1:2] = a[2:3]",
        "a slice is no place to assign to", "`copy_slice(a[1:2], …)`",
    ),
    "ellipsis": ("", "x = ...", "no ellipsis values", "`@extern`"),
    "loop over pairs": (
        "", "a = Array[u8, 4]()\nfor x, y in a:\n    pass", "one plain", "enumerate",
    ),
    "static in a body": ("", "x = static(u64)", "it cannot be called here", "at module level"),
    "match or anything": ("", "match port:\n    case 1 | _:\n        pass", "stands alone", ""),
    "match None": (
        "", "match port:\n    case None:\n        pass", "a case is a constant", "is None:",
    ),
    "deep": ("", f"x = {'not ' * 900}port", "nested too deeply", "local variables"),
    "unannotated": ("def h(n) -> u64:\n    return n", "h(1)", "build-time Python", "`n: u64`"),
    "no result": ("def h(n: u64):\n    pass", "h(1)", "build-time Python", "the result, `-> u64`"),
    "replaced": (
        "import functools\n@functools.cache\ndef h(n: u64) -> u64:\n    return n", "return h(1)",
        "a decorator put something else in the place of `h`", "returns it as it is",
    ),
}  # fmt: skip

MODULES = {  # name: (module, message, help)
    "inheritance": (STRUCT + "@struct\nclass T(S):\n    b: u32", "no inheritance", "`base: S`"),
    "base class": (
        "class A:\n    x = 1\n@struct\nclass T(A):\n    b: u32",
        "`T` has a base class: a struct has none", "`base: A`",
    ),
    "no @struct": (
        "class T:\n    b: u32\ndef f(t: Ptr[T]) -> u32:\n    return t.b",
        "`T` is not a kernel Python type", "write `@struct` above `class T`",
    ),
    "__init__": (
        "@struct\nclass T:\n    b: u32\n    def __init__(self) -> None:\n        pass",
        "a struct has no `__init__`", "`T(field=value)`",
    ),
    "__eq__": (
        "@struct\nclass T:\n    b: u32\n    def __eq__(self, o: u32) -> bool:\n        return True",
        "`__eq__` of a struct is never called", "`__enter__` and `__exit__` only",
    ),
    "field default": ("@struct\nclass T:\n    b: u32 = 5", "has a default value", "`T(b=…)`"),
    "static method": (
        "@struct\nclass T:\n    b: u32\n    @staticmethod\n    def m() -> u32:\n        return 1",
        "`T.m` is a staticmethod", "at module level",
    ),
    "property": (
        "@struct\nclass T:\n    b: u32\n    @property\n    def m(self) -> u32:\n        return 1",
        "`T.m` is a property", "a method",
    ),
    "missing self": (
        "@struct\nclass T:\n    b: u32\n    def m() -> u32:\n        return 1",
        "the first parameter of the method `T.m` is `self`", "`def m(self, …)`",
    ),
    "field without self": (
        "@struct\nclass T:\n    b: u32\n    def m(self) -> u32:\n        return b",
        "name `b` is not defined", "did you mean `self.b`?",
    ),
    "super": (
        "@struct\nclass T:\n    b: u32\n    def m(self) -> u32:\n        return super().m()",
        "no `super`", "no base class",
    ),
    "enum without type": ("@enum\nclass A:\n    X = 1", "the type of its members", "`@enum(u8)`"),
    "enum auto": (
        "from enum import auto\n@enum(u8)\nclass A:\n    X = auto()",
        "`A.X` is no integer", "`X = 0`",
    ),
    "Python's enum": (
        "from enum import Enum\nclass A(Enum):\n    X = 1\ndef f() -> u64:\n    return u64(A.X)",
        "exists at build time only", "write `@enum(u8)` above `class A:`",
    ),
    "async": ("async def f() -> u64:\n    return 1", "no `async`", "a plain `def`"),
    "await": ("async def f() -> u64:\n    return await f()", "no `async`", "a plain `def`"),
    "default": (
        "def f(x: u64 = 3) -> None:\n    pass\ndef g() -> None:\n    f()",
        "without defaults", "pass it in every call",
    ),
    "several": ("def f(*x: u64) -> None:\n    pass", "positional parameters", "`Slice[T]`"),
    "by keyword": (
        "def f(*, x: u64) -> None:\n    pass", "positional parameters", "before the `*`",
    ),
    "unknown decorator": ("@inlin\ndef f() -> u64:\n    return 1", "'inlin'", "`inline`"),
    "called decorator": (
        "@inline()\ndef f() -> u64:\n    return 1", "got `None`", "without brackets",
    ),
    "bare @asm": ("@asm\ndef f() -> u64: ...", "instructions as text", '`@asm("hlt")`'),
    "bare @formatter": ("@formatter\ndef f(x): ...", "functions that print", "write_int"),
    "body of @extern": ("@extern\ndef f() -> u64:\n    return 1", "never run", "write `...`"),
    "body of ...": ("def f() -> u64: ...", "must return a `u64`", "for `@extern` and `@asm`"),
    "unannotated export": ("@export\ndef f(n) -> u64:\n    return 1", "`n` of `f`", "`n: u64`"),
    "export without result": (
        "@export\ndef f():\n    pass", "the result of `f` has no", "`-> None`",
    ),
    "recursion": ("def f(n: u64) -> u64:\n    return f(n)", "recursion: `f` -> `f`", "a loop"),
    "int": ("def f(n: int) -> None:\n    pass", "`int` is not a kernel", "`u8` … `u64`"),
    "str": ("def f(n: str) -> None:\n    pass", "`str` is not a kernel", "`Slice[u8]`"),
    "list": ("def f(n: list[u64]) -> None:\n    pass", "`list` is not a kernel", "`Array[T, N]`"),
    "list field": (
        "@struct\nclass A:\n    x: list\ndef f(a: Ptr[A]) -> u64:\n    return a.x",
        "field `x` of `A`: `list` is not a kernel Python type", "",
    ),
    "array without count": ("x = static(Array[u8])", "a count", "`Array[u8, 16]`"),
    "negative count": ("x = static(Array[u8, -1])", "the count is negative", ""),
    "static without type": ("x = static()", "a static has a type", "`static(u64)`"),
    "unbound result": (
        "T = TypeVar('T')\ndef f(x: u64) -> T:\n    return x\ndef g() -> u64:\n    return f(1)",
        "no parameter tells what `T` is", "",
    ),
}  # fmt: skip


def one_error(shown, message, advice):
    assert message in shown
    assert advice in shown.rpartition("help: ")[2], shown
    assert shown.count("error:") == 1, shown
    assert "itself failed" not in shown


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize("name", BODIES)
def test_in_a_function(errors, name):
    declarations, body, message, advice = BODIES[name]
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    shown = errors(FRAME.format(more=STRUCT + declarations, body=indented))
    one_error(shown, message, advice)


@pytest.mark.parametrize("name", MODULES)
def test_in_a_module(errors, name):
    text, message, advice = MODULES[name]
    one_error(errors(text), message, advice)
