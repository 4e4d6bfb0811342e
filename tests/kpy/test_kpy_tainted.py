"""`Tainted`: numbers that a guest gave can do no harm until a comparison has bounded them."""

import sys

import pytest

DECLARATIONS = """
Mfn = newtype("Mfn", u64, none=0)
T = TypeVar("T")
@enum(u8)
class State:
    IDLE = 0
    BUSY = 1
@struct
class Where:
    offset: u16
    mfn: Mfn
@struct
class Op:
    cmd: u32
    nr: u64
    status: i16
    where: Where
    list: Guest[u64]
    words: Array[u32, 4]
assert sizeof(Tainted[Op]) == sizeof(Op) and offsetof(Tainted[Op], "words") == offsetof(Op, "words")
NR = 4
MASK = 0xFFF
table = static(Array[u64, 4], [10, 11, 12, 13])
bytes_ = static(Array[u8, 256], [(i + 1) % 256 for i in range(256)])
last = static(Tainted[u64])
plain_op = static(Op)
def read_op(to: Ptr[T], from_: Guest[T]) -> bool:
    return sizeof(T) != 0
def write_op(to: Guest[T], from_: Ptr[T]) -> bool:
    return sizeof(T) != 0
def get(to: Ptr[Tainted[T]], from_: Guest[T]) -> bool:
    return sizeof(T) != 0
def plain(n: u64) -> u64:
    return n
def pass_on(n: Tainted[u64]) -> Tainted[u64]:
    return n
"""

ACCEPTED = {  # name: (body of f, what it gives for x = 3)
    "passed on": ("y = pass_on(x)\nrequire(y < 9, 0)\nreturn y", 3),
    "plain becomes tainted": ("y = pass_on(n)\nz: Tainted[u64] = 5\nreturn u64(y != z)", 1),
    "compared": ("if x < 4:\n    return plain(x)", 3),
    "compared the other way": ("if x >= 4:\n    return 0\nreturn plain(x) + x", 6),
    "mirrored": ("if 4 > x:\n    return x + 1", 4),
    "mirrored, failing": ("if n < x:\n    return 0\nreturn table[x]", 13),
    "equal": ("if x == 3:\n    return x * 2", 6),
    "unequal": ("if n != x:\n    return 0\nreturn x - 1", 2),
    "one of": ("if x in (1, 3):\n    return x << 1", 6),
    "none of": ("if x not in (1, 3):\n    return 0\nreturn table[x]", 13),
    "require": ("require(x <= n, 0)\nreturn table[x]", 13),
    "require, not": ("require(not x > n, 0)\nreturn table[x]", 13),
    "assert": ("assert x < NR\nreturn table[x]", 13),
    "and": ("return table[x] if x < NR and table[x] == 13 else 0", 13),
    "or": ("if x >= NR or table[x] != 13:\n    return 0\nreturn x", 3),
    "chain": ("require(1 <= x < NR, 0)\nreturn table[x]", 13),
    "range": ("require(x < NR, 0)\nk = u64(0)\nfor i in range(x):\n    k += i\nreturn k", 3),
    "while": ("while x >= NR:\n    x = x >> 1\nreturn table[x]", 13),
    "match": ("match x:\n    case 3:\n        return table[x]\n    case _:\n        pass", 13),
    "mask": ("return table[x & 3] + (x & MASK)", 16),
    "remainder": ("return table[x % NR] + (x % n)", 13),
    "minimum": ("return table[min(x, NR - 1)] + min(n, x)", 16),
    "bits": ("y = (x | 4) ^ 1\nreturn y & 0xFF", 6),
    "inverted": ("y = ~x & ~0xfff\nreturn (~y) & 0xff", 255),
    "shifted": ("return u64(x >> 1 == 1 and x << n == 24 and x << 1 == 6)", 1),
    "index of a type that fits": ("return u64(bytes_[truncate(u8, x)])", 4),
    "divided": ("return u64(x // 2 == 1)", 1),
    "wrapping": ("return u64(wrapping_add(x, 1) == 4 and wrapping_mul(x, n) == 9)", 1),
    "saturating": ("return u64(saturating_sub(x, 5) == 0)", 1),
    "checked": ("y, over = checked_add(x, 2)\nrequire(not over and y < 9, 0)\nreturn y", 5),
    "truncated": ("y = truncate(u32, x)\nrequire(y < 4, 0)\nreturn u64(y)", 3),
    "tainted": ("y = truncate(Tainted[u8], n) | Tainted[u8](1)\nreturn u64(y == 3)", 1),
    "widened": ("y = u64(op.cmd)\nrequire(y < 4, 0)\nreturn table[y]", 12),
    "bound of the widened": ("c = op.cmd\nrequire(u64(c) < n, 0)\nreturn u64(c + 1)", 3),
    "newtype": ("m = Mfn(x)\nrequire(m < Mfn(9), 0)\nreturn u64(m + 1)", 4),
    "newtype back": ("y = u64(Mfn(x))\nrequire(y < 9, 0)\nreturn y", 3),
    "newtype or None": ("m = Mfn(x)\nrequire(m < Mfn(9), 0)\nk: Mfn | None = m\nreturn u64(k)", 3),
    "counted bits": ("return u64(popcount(x) + clz(x) + ctz(x))", 64),
    "bytes swapped": ("return u64(bswap(x) == 3 << 56)", 1),
    "condition": ("return 1 if x else 0", 1),
    "condition as bool": ("return u64(bool(x))", 1),
    "chosen": ("y = x if n == 3 else 0\nrequire(y < 9, 0)\nreturn y", 3),
    "literals": ("y: Tainted[u16] = 1 if n == 3 else 2\nreturn u64(y & 3)", 1),
    "literal of the type": ("op.cmd = 1 << op.cmd % 8\nreturn u64(op.cmd & 7)", 4),
    "guest address": ("g = Guest[u64](x)\nreturn u64(g.index(x).address() == 27)", 1),
    "stored": ("global last\nlast = x\nrequire(last < 9, 0)\nreturn last", 3),
    "assigned a plain number": ("x = n\nreturn table[x]", 13),
    "masked in place": ("x &= 3\nreturn table[x]", 13),
    "shifted in place": ("x >>= 1\nrequire(x < 4, 0)\nreturn x", 1),
    "counted on": ("require(x < 9, 0)\nx += 1\nreturn x", 4),
    "trusted": ("return trusted(x) + 1", 4),
    "field": ("require(op.nr < NR, 0)\nreturn table[op.nr]", 11),
    "field of a field": ("require(op.where.offset < 9, 0)\nreturn u64(op.where.offset + 1)", 8),
    "newtype field": ("require(op.where.mfn == Mfn(6), 0)\nreturn u64(op.where.mfn)", 6),
    "element": ("require(op.words[2] < 9, 0)\nreturn u64(op.words[2] + 1)", 9),
    "guest address in a field": ("return op.list.address() & 7", 5),
    "field set": ("op.nr = 2\nreturn table[op.nr]", 12),
    "signed equal": ("require(op.status == -2, 0)\nreturn u64(op.status + 4)", 2),
    "signed chain": ("require(-5 <= op.status <= 3, 0)\nreturn u64(op.status + 4)", 2),
    "copied": ("o = load(op)\nrequire(o.nr < NR, 0)\nreturn table[o.nr]", 11),
    "made": ("o = Tainted[Op](nr=x)\nrequire(o.nr < NR, 0)\nreturn table[o.nr]", 13),
    "uninitialized": ("o = uninitialized(Tainted[Op])\no = load(op)\nreturn o.nr & 3", 1),
    "generic": ("g = Guest[Op](n)\no = Tainted[Op]()\nread_op(ref(o), g)\nwrite_op(g, ref(o))\n"
                "get(ref(o), g)\nget(ref(last), Guest[u64](8))\nreturn 1", 1),
    "pointer to a field": ("p = ref(op.nr)\nrequire(load(p) < 9, 0)\nreturn load(p)", 1),
    "atomic": ("atomic_store(ref(op.nr), 3)\nreturn u64(atomic_xchg(ref(op.nr), 5) == 3)", 1),
    "atomic, bits": ("y = atomic_or(ref(op.nr), 4)\ny = atomic_and(ref(op.nr), ~1)\n"
                     "return u64(y == 5 and atomic_xor(ref(op.nr), n) == 4)", 1),
    "cast": ("o = cast(Where, ref(op.words))\nrequire(o.offset < 4, 0)\n"
             "return table[o.offset]", 10),
    "plain copied": ("copy(op, ref(plain_op))\ncopy_slice(op.words[:], plain_op.words[:])\n"
                     "return 1 if op.nr == 0 else 0", 1),
    "cast back": ("w: Ptr[Tainted[Array[u32, 4]]] = cast(Array[u32, 4], ref(op.words))\n"
                  "return u64(w[2] == 8)", 1),
    "slice": ("s: Slice[Tainted[u32]] = op.words[:]\nrequire(s[2] < 9, 0)\nreturn u64(s[2])", 8),
}  # fmt: skip


def program_of(body):
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    signature = "x: Tainted[u64], op: Ptr[Tainted[Op]], n: u64, c: Tainted[u32]"
    return f"{DECLARATIONS}def f({signature}) -> u64:\n{indented}\n    return 0\n"


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_a_tainted_number_may_do(jit, name):
    body, result = ACCEPTED[name]
    program = jit(program_of(body))
    op = program.new(sys.modules[program._module].Op, cmd=2, nr=1, status=-2, list=5)
    op.words[2] = 8
    op.where.offset, op.where.mfn = 7, 6
    assert program.f(3, op, 3, 2) == result


REFUSED = {
    "argument": ("return plain(x)", "(parameter `n` of `plain`), found `Tainted[u64]`",
                 "show an upper bound first, `require(x < …, …)`"),
    "result": ("return x", "expected `u64` (the result type)", "`require(x < …, …)`"),
    "added": ("y = x + 1", "a guest gave `x`: it cannot be added", "`wrapping_add`"),
    "added to": ("y = n + x", "a guest gave `x`: it cannot be added", "`wrapping_add`"),
    "added in place": ("x += 1", "a guest gave `x`: it cannot be added", "`wrapping_add`"),
    "subtracted": ("y = n - x", "cannot be subtracted", "`saturating_sub`"),
    "multiplied": ("y = x * 8", "cannot be multiplied", "`wrapping_mul`"),
    "shifted left": ("return x << 3", "expected `u64`", ""),
    "index of a type that may be too large": ("y = truncate(u8, x)\nreturn table[y]",
                                              "cannot be an index", ""),
    "shift count": ("y = n >> x", "cannot be a count", "upper bound"),
    "bit": ("y = bit(x)", "a guest gave `x`: it cannot be", "upper bound"),
    "divisor": ("y = n // x", "cannot be a divisor", "upper bound"),
    "remainder by it": ("y = n % x", "cannot be a divisor", "upper bound"),
    "narrowed": ("y = u32(x)", "it may not fit in `u32`", "`truncate(u32, x)`"),
    "to signed": ("y = i64(x)", "it may not fit in `i64`", "`truncate(i64, x)`"),
    "enum": ("y = State(x)", "it may not fit in `State`", "upper bound"),
    "index": ("return table[x]", "cannot be an index or length", "`require(x < …, …)`"),
    "slice bound": ("s = table[0:x]", "cannot be an index or length", ""),
    "slice made": ("s = Slice[u64](ref(table[0]), x)", "cannot be an index or length", ""),
    "range": ("for i in range(x):\n    pass", "cannot be a bound of a `range`", ""),
    "start of a range": ("for i in range(x, 5):\n    pass", "cannot be a bound of a `range`", ""),
    "pointer": ("p = Ptr[u64](x)", "expected `u64`, found `Tainted[u64]`", ""),
    "inverted mask": ("return x & ~0xfff", "expected `u64`", ""),
    "mask with the top bit": ("return x & (1 << 63)", "expected `u64`", ""),
    "mask of variables": ("return x & n", "expected `u64`", ""),
    "wrapped": ("return wrapping_add(x, 1)", "expected `u64`", ""),
    "saturated": ("return saturating_sub(x, 1)", "expected `u64`", ""),
    "maximum": ("return max(x, 4)", "expected `u64`", ""),
    "minimum of two": ("return min(x, u64(op.cmd))", "found `Tainted[u64]`", ""),
    "lower bound": ("require(x > 4, 0)\nreturn x", "expected `u64`", ""),
    "other outcome": ("if x < 4:\n    return 0\nreturn x", "expected `u64`", ""),
    "bounded by another": ("require(x < op.nr, 0)\nreturn x", "expected `u64`", ""),
    "bounded by a wrapped one": ("require(x < op.nr & n, 0)\nreturn x", "expected", ""),
    "one of others": ("require(x in (1, op.nr), 0)\nreturn x", "expected `u64`", ""),
    "not one of": ("require(x not in (1, 2), 0)\nreturn x", "expected `u64`", ""),
    "other case": ("match x:\n    case 1:\n        pass\nreturn x", "expected `u64`", ""),
    "sum bounded": ("require(wrapping_add(x, 1) < 4, 0)\nreturn x", "expected `u64`", ""),
    "cut bounded": ("require(truncate(u32, x) < 4, 0)\nreturn x", "expected `u64`", ""),
    "assigned anew": ("y = x\nrequire(y < 4, 0)\ny = x\nreturn y", "expected `u64`", ""),
    "wrapped in place": ("y = x\nrequire(y < 4, 0)\ny |= x\nreturn y", "expected `u64`", ""),
    "signed, one side": ("require(op.status < 3, 0)\ny = op.status + 1", "cannot be added", ""),
    "field": ("return table[op.nr]", "a guest gave `op.nr`", "copy it to a local variable"),
    "field says where": ("return op.nr + 1", "`Tainted[u64]`, in `Tainted[Op]`", ""),
    "local says where": ("y = x\nk = n\nreturn y + 1", "`Tainted[u64]`, from line", ""),
    "field after a call": ("require(op.nr < 4, 0)\nplain(n)\nreturn table[op.nr]", "`op.nr`", ""),
    "field after a store": ("require(op.nr < 4, 0)\nop.cmd = 1\nreturn op.nr", "expected", ""),
    "trusted already": ("return trusted(n)", "`n` is a `u64`, that is trusted already", ""),
    "plain struct": ("p: Ptr[Op] = op", "found `Ptr[Tainted[Op]]`", ""),
    "newtypes": ("y = u32(Mfn(x))", "it may not fit in `u32`", ""),
    "bool": ("y: Tainted[bool] = True", "only integers, structs and arrays can be tainted", ""),
    "stored": ("table[0] = x", "expected `u64`, found `Tainted[u64]`", "upper bound"),
    "guest address": ("return op.list.address() + 8", "cannot be added", "`wrapping_add`"),
    "untainted source": ("o = Op()\nget(ref(o), Guest[Op](n))", "expected `Ptr[Tainted[T]]`",
                         "a guest gives what is there: make it a `Tainted[Op]`"),
    "atomic": ("atomic_add(ref(op.nr), 1)", "takes a pointer to an integer", ""),
    "atomic, bits": ("return atomic_or(ref(op.nr), 1)", "expected `u64`", ""),
    "cast to plain": ("p: Ptr[Where] = cast(Where, ref(op.words))", "`Ptr[Tainted[Where]]`",
                      "a guest gave what is there: take it as `Ptr[Tainted[Where]]`"),
    "cast field": ("return table[cast(Where, ref(op.words)).offset]", "cannot be an index", ""),
    "plain slice": ("s: Slice[u32] = op.words[:]", "found `Slice[Tainted[u32]]`", "take it as"),
    "copied to plain": ("copy(ref(plain_op), op)", "cannot copy a `Tainted[Op]` to a `Op`", ""),
    "slice copied to plain": ("copy_slice(plain_op.words[:], op.words[:])", "cannot copy", ""),
    "plain for tainted": ("o: Ptr[Tainted[Op]] = ref(plain_op)", "found `Ptr[Op]`",
                          "a guest gives what is there: make it a `Tainted[Op]`"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_tainted_number_may_not_do(errors, name):
    body, message, advice = REFUSED[name]
    shown = errors(program_of(body))
    assert message in shown
    assert advice in shown
    assert shown.count("error:") == 1, shown


def test_a_bound_costs_what_the_comparison_costs(instructions):
    text = "def f(x: {}) -> u64:\n    require(x < NR, 5)\n    return table[x] + x\n"
    one, two = (instructions(DECLARATIONS + text.format(t), "f") for t in ("u64", "Tainted[u64]"))
    assert one == two
