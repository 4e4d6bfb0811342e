"""What Python has and kernel Python has not, each with the way it is done here."""

import ast
import builtins

LOOP = "write a loop that fills an array, `a: Array[u64, 4] = [0, 0, 0, 0]`"
MODULE_LEVEL = "move it to module level; what it uses of this function become parameters"
TEXT = 'print the parts with a formatter, `printk(f"{a}{b}")`'
COMPARE_TEXT = "compare the bytes: `equal(a, b)` of kernel.base.cmdline, `same_text` of libos.text"
NO_ASYNC = "a libos thread waits by `wait_event`; the core's calls return at once"
NO_GENERATOR = "call a function for each value in a loop, or keep the state in a struct"
NO_EXCEPTIONS = "return an error code, or a tuple"

# syntax node: its name, what to do instead
EXPRESSIONS = {
    ast.ListComp: ("list comprehension", LOOP),
    ast.SetComp: ("set comprehension", LOOP),
    ast.DictComp: ("dict comprehension", LOOP),
    ast.GeneratorExp: ("generator expression", LOOP),
    ast.Lambda: ("`lambda`", "define a function at module level; its name is an `Fn[[A], R]`"),
    ast.NamedExpr: ("`:=`", "assign in a statement of its own"),
    ast.Await: ("`await`", NO_ASYNC),
    ast.Yield: ("`yield`", NO_GENERATOR),
    ast.YieldFrom: ("`yield`", NO_GENERATOR),
    ast.Dict: (
        "dict values",
        "use a `match`, or an array that the key indexes; at module level a dict may be the "
        "initial value of a static",
    ),
    ast.Set: ("set values", "`x in (a, b)` is a chain of `==`; flags are bits of an integer"),
    ast.Slice: ("such slice", "`a[low:high]`"),
}
STATEMENTS = {
    ast.Delete: (
        "`del`",
        "a local variable ends with its function; memory has an owner to free it",
    ),
    ast.Nonlocal: ("`nonlocal`", "what outlives a call is a static at module level"),
    ast.Try: ("exceptions", NO_EXCEPTIONS),
    ast.TryStar: ("exceptions", NO_EXCEPTIONS),
    ast.Raise: ("exceptions", NO_EXCEPTIONS + '; `panic("text")` ends everything'),
    ast.FunctionDef: ("functions inside functions", MODULE_LEVEL),
    ast.ClassDef: ("classes inside functions", MODULE_LEVEL),
    ast.AsyncFunctionDef: ("`async`", NO_ASYNC),
    ast.AsyncFor: ("`async`", NO_ASYNC),
    ast.AsyncWith: ("`async`", NO_ASYNC),
    ast.Import: ("imports inside functions", "import at module level; circles are allowed"),
    ast.ImportFrom: ("imports inside functions", "import at module level; circles are allowed"),
}
VALUES = {
    float: "count in a smaller unit, such as ns; multiply before dividing with `//`",
    complex: "",
    type(...): "a body of `...` is for `@extern` and `@asm`",
}
BUILTINS = {
    print: 'print by a formatter: `printk(f"…")` in the core, `say(f"…")` in libos',
    input: "libos reads lines by `libos.keyboard`",
    open: "a libos program reads a disk by `drivers.blkfront`",
    int: "convert by a type, `u64(x)`, `i32(x)` …",
    float: VALUES[float],
    str: TEXT,
    repr: TEXT,
    format: TEXT,
    hex: 'a formatter prints it so, `printk(f"{x:#x}")`',
    oct: "a formatter prints decimal and hexadecimal numbers",
    bin: "a formatter prints decimal and hexadecimal numbers",
    ord: 'an element of a string is its byte, `"a"[0]`',
    chr: "text is bytes: a `u8` holds a character",
    abs: "`x if x >= 0 else -x`",
    pow: "multiply; `bit(n)` is 1 << n",
    divmod: "`x // y` and `x % y`",
    round: VALUES[float],
    sum: "write a loop",
    any: "write a loop",
    all: "write a loop",
    sorted: "write a loop",
    map: "write a loop",
    filter: "write a loop",
    iter: "write a loop, `for x in a:`",
    next: "write a loop, `for x in a:`",
    zip: "index both, `for i in range(len(a)):`",
    isinstance: "a value has one type, known when it is compiled",
    type: "a value has one type, known when it is compiled",
    getattr: "fields are known when it is compiled, `p.field`",
    setattr: "fields are known when it is compiled, `p.field = x`",
    hasattr: "fields are known when it is compiled",
    id: "`u64(ref(x))` is the address of a variable",
    super: "a struct has no base class; make it a field, and call its methods by that",
    list: "`Array[T, N]()` is a zeroed array; nothing grows, for there is no heap",
    tuple: "`(a, b)` makes a tuple",
    bytes: '`b"…"` is a `Slice[u8]`; `Array[u8, N]()` a zeroed array',
    bytearray: "`Array[u8, N]()` is a zeroed array",
    dict: EXPRESSIONS[ast.Dict][1],
    set: EXPRESSIONS[ast.Set][1],
    object: "",
    eval: "code is known when it is compiled",
    exec: "code is known when it is compiled",
}


def of_builtin(callee):
    """What to do instead of calling a builtin of Python; None if it is no such thing."""
    if isinstance(callee, type) and issubclass(callee, BaseException):
        return NO_EXCEPTIONS
    try:
        if callee in BUILTINS:
            return BUILTINS[callee]
    except TypeError:  # not hashable
        return None
    name = getattr(callee, "__name__", "")
    return "" if name and vars(builtins).get(name) is callee else None
