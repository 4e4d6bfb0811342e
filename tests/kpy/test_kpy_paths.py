"""What a test shows of a field, element or static: it holds until the next store or call."""

import sys

import pytest

DECLARATIONS = """
Mfn = newtype("Mfn", u64, none=0)
@struct
class Node:
    x: u64
    next: Ptr["Node"] | None
    frame: Mfn | None
    nodes: Array[Ptr["Node"] | None, 4]
    devices: Volatile[Ptr["Node"] | None]
@struct
class Lock:
    taken: u64
    def __enter__(self) -> None:
        self.taken += 1
    def __exit__(self) -> None:
        self.taken -= 1
first = static(Ptr[Node] | None)
table = static(Array[Ptr[Node] | None, 4])
lock = static(Lock)
def use(n: Ptr[Node]) -> u64:
    return n.x
def frame_use(mfn: Mfn) -> u64:
    return u64(mfn)
def next_of(n: Ptr[Node]) -> Ptr[Node] | None:
    return n.next
def same(n: Ptr[Node]) -> Ptr[Node]:
    return n
def maybe(n: u64) -> bool:
    return n > 3
def cut(n: Ptr[Node]) -> u64:
    n.next = None
    return 1
def write(text: Slice[u8]) -> None:
    pass
def write_int(value: u64, negative: bool, style: u32) -> None:
    pass
@formatter(write, write_int, None)
def say(text): ...
"""

ACCEPTED = {  # the body of f(n: Ptr[Node], i: u64); it gives 7 for a node whose every link is x = 7
    "if": "if n.next is not None:\n    return n.next.x\nreturn 0",
    "early return": "if n.next is None:\n    return 0\nreturn n.next.x",
    "truth": "if n.next:\n    return n.next.x\nreturn 0",
    "require": "require(n.next is not None, 0)\nreturn n.next.x",
    "assert": "assert n.next is not None\nreturn n.next.x",
    "argument": "require(n.next is not None, 0)\nreturn use(n.next)",
    "and": "return n.next.x if n.next is not None and n.next.x == 7 else 0",
    "or": "if n.next is None or n.next.x != 7:\n    return 0\nreturn 7",
    "not": "if not (n.next is not None):\n    return 0\nreturn n.next.x",
    "two steps": (
        "require(n.next is not None and n.next.next is not None, 0)\nreturn n.next.next.x"
    ),
    "one after the other": (
        "require(n.next is not None, 0)\nrequire(n.next.next is not None, 0)\nreturn n.next.next.x"
    ),
    "newtype": "require(n.frame is not None, 0)\nreturn frame_use(n.frame)",
    "constant index": "require(n.nodes[2] is not None, 0)\nreturn n.nodes[2].x",
    "variable index": "require(n.nodes[i] is not None, 0)\nreturn n.nodes[i].x",
    "static": "require(first is not None, 0)\nreturn first.x",
    "element of a static": "require(table[i] is not None, 0)\nreturn table[i].x",
    "through a slice": "s = n.nodes[1:]\nrequire(s[0] is not None, 0)\nreturn s[0].x",
    "through a pointer": "p = ref(n.next)\nq = load(p)\nrequire(load(p) is not None, 0)\n"
    "return load(p).x",
    "local struct": "m = load(n)\nrequire(m.next is not None, 0)\nreturn m.next.x",
    "scalar assigned": "require(n.next is not None, 0)\nk = i\nk += 1\nreturn n.next.x * (k - i)",
    "both branches": (
        "if i == 0:\n    require(n.next is not None, 0)\nelse:\n    assert n.next is not None\n"
        "return n.next.x"
    ),
    "one branch ends": "if n.next is None:\n    cut(n)\n    return 0\nreturn n.next.x",
    "while": "while n.next is None:\n    n.x += 1\nreturn n.next.x",
    "in a loop": "for k in range(u64(2)):\n    if n.next is not None and n.next.x == 7 + k:\n"
    "        return n.next.x\nreturn 0",
    "stored": "m = load(n)\nr = ref(m)\nr.next = n\nreturn r.next.x",
    "filled in": "if n.next is None:\n    n.next = n\nreturn n.next.x",
    "exposed variable": "q: Ptr[Node] | None = n\nr = ref(q)\nif q is not None:\n    return q.x\n"
    "return u64(r)",
    "pure builtins": (
        "require(n.next is not None, 0)\nk = min(wrapping_add(i, 1), len(n.nodes))\n"
        "return n.next.x + k * 0"
    ),
    "still comparable": "require(n.next is not None, 0)\nreturn 0 if n.next is None else n.next.x",
    "frame still comparable": "require(n.frame is not None, 0)\nreturn 7 if n.frame else 0",
    "value comes from it": "require(n.next is not None, 0)\nn.x = n.next.x\nreturn n.x",
    "call in what is returned": "require(n.next is not None, use(n))\nreturn n.next.x",
}

FORGOTTEN = {  # `n.next` is known, then no longer
    "call": "require(n.next is not None, 0)\ncut(n)\nreturn n.next.x",
    "call before, in the expression": "require(n.next is not None, 0)\nreturn cut(n) + n.next.x",
    "call in an argument": "require(n.next is not None, 0)\nreturn min(cut(n), n.next.x)",
    "call through a pointer": (
        "p: Fn[[Ptr[Node]], u64] = cut\nrequire(n.next is not None, 0)\np(n)\nreturn n.next.x"
    ),
    "call in the condition": "if n.next is not None and maybe(i):\n    return n.next.x",
    "call in the condition, or": "if n.next is None or maybe(i):\n    return 0\nreturn n.next.x",
    "call in the next condition": (
        "require(n.next is not None, 0)\nif maybe(i):\n    return n.next.x"
    ),
    "call in one side": "require(n.next is not None, 0)\nk = cut(n) if i == 1 else 0\n"
    "return n.next.x + k",
    "store": "require(n.next is not None, 0)\nn.x = 4\nreturn n.next.x",
    "store through another pointer": (
        "require(n.next is not None, 0)\nm = n\nm.next = None\nreturn n.next.x"
    ),
    "augmented store": "require(n.next is not None, 0)\nn.x += 1\nreturn n.next.x",
    "store(…)": "p = ref(n.next)\nrequire(n.next is not None, 0)\nstore(p, None)\nreturn n.next.x",
    "atomic": "require(n.next is not None, 0)\natomic_add(ref(n.x), 1)\nreturn n.next.x",
    "atomic load": "require(n.next is not None, 0)\natomic_load(ref(n.x))\nreturn n.next.x",
    "zero": "require(n.next is not None, 0)\nzero(n)\nreturn n.next.x",
    "element stored": "require(n.next is not None, 0)\ntable[i] = None\nreturn n.next.x",
    "static stored": (
        "global first\nrequire(n.next is not None, 0)\nfirst = None\nreturn n.next.x"
    ),
    "pointer assigned": "m = n\nrequire(m.next is not None, 0)\nm = same(m)\nreturn m.next.x",
    "printed": 'require(n.next is not None, 0)\nsay(f"{i}")\nreturn n.next.x',
    "printed before": (
        'require(n.next is not None, 0)\nsay(f"{n.next.x} {n.next.x}")'
    ),
    "one branch calls": (
        "require(n.next is not None, 0)\nif i == 1:\n    cut(n)\nreturn n.next.x"
    ),
    "one branch checks": "if i == 1:\n    require(n.next is not None, 0)\nreturn n.next.x",
    "the other outcome": "if n.next is None:\n    return n.next.x",
    "loop": "require(n.next is not None, 0)\nwhile i < 5:\n    cut(n)\nreturn n.next.x",
    "start of a loop": (
        "require(n.next is not None, 0)\nfor k in range(i):\n    i = n.next.x\n    cut(n)"
    ),
    "test of a loop": "require(n.next is not None, 0)\nwhile n.next.x > i:\n    cut(n)",
    "left by break": (
        "while n.next is None:\n    if i == 2:\n        break\nreturn n.next.x"
    ),
    "taking a lock": "require(n.next is not None, 0)\nwith lock:\n    return n.next.x",
    "giving a lock back": "with lock:\n    require(n.next is not None, 0)\nreturn n.next.x",
    "one case calls": (
        "require(n.next is not None, 0)\nmatch i:\n    case 1:\n        cut(n)\n    case _:\n"
        "        pass\nreturn n.next.x"
    ),
    "the value of an assignment": (
        "require(n.next is not None, 0)\nn.next.x = cut(n)"
    ),
    "a null stored": "require(n.next is not None, 0)\nn.next = next_of(n)\nreturn n.next.x",
}  # fmt: skip

OTHER = {  # another path than `n.next` is used without being known
    "another index": ("require(n.nodes[1] is not None, 0)\nreturn n.nodes[2].x", "n.nodes[2]"),
    "index assigned": (
        "require(n.nodes[i] is not None, 0)\ni += 1\nreturn n.nodes[i].x", "n.nodes[i]",
    ),
    "index of a loop": (
        "for k in range(u64(3)):\n    require(n.nodes[k] is not None, 0)\nreturn table[k].x",
        "table[k]",
    ),
    "index that may change": (
        "j = i\nr = ref(j)\nrequire(n.nodes[j] is not None, 0)\nreturn n.nodes[j].x + u64(r)",
        "n.nodes[j]",
    ),
    "volatile": ("require(n.devices is not None, 0)\nreturn n.devices.x", "n.devices"),
    "deeper": ("require(n.next is not None, 0)\nreturn n.next.next.x", "n.next.next"),
    "other root": ("m = n\nrequire(m.nodes[0] is not None, 0)\nreturn table[0].x", "table[0]"),
    "local struct assigned": (
        "m = load(n)\nrequire(m.next is not None, 0)\nm = load(n)\nreturn m.next.x", "m.next",
    ),
    "local struct field assigned": (
        "m = load(n)\nrequire(m.next is not None, 0)\nm.next = None\nreturn m.next.x", "m.next",
    ),
    "exposed variable": (
        "q: Ptr[Node] | None = n\nr = ref(q)\nassert q is not None\nstore(r, None)\nreturn q.x",
        "q",
    ),
    "exposed later, in a loop": (
        "q: Ptr[Node] | None = n\nk = i\nwhile k < 9:\n    k += 1\n    if q is not None:\n"
        "        k += cut(n)\n        k += q.x\n    r = ref(q)\n    k += u64(r)",
        "q",
    ),
    "stored where it may change the way": (
        "require(n.next is not None, 0)\nn.next.next = n\nrequire(n.next is not None, 0)\n"
        "return n.next.next.x",
        "n.next.next",
    ),
    "loop variable": (
        "require(table[0] is not None, 0)\nm = table[0]\nfor m in table:\n    i += m.x", "m",
    ),
}  # fmt: skip


def program_of(body):
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    return f"{DECLARATIONS}def f(n: Ptr[Node], i: u64) -> u64:\n{indented}\n    return 0\n"


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_known(jit, name):
    program = jit(program_of(ACCEPTED[name]))
    node = program.new(sys.modules[program._module].Node, x=7, frame=7)
    node.next = node
    program.first.value = node
    for i in range(4):
        node.nodes[i] = node
        program.table[i] = node
    assert program.f(node, 1) == 7


@pytest.mark.parametrize("name", FORGOTTEN)
def test_what_is_forgotten(errors, name):
    shown = errors(program_of(FORGOTTEN[name]))
    known = "m.next" if "m.next.x" in FORGOTTEN[name] else "n.next"
    assert f"`{known}` may be null" in shown
    assert "a store or call ends what is known: copy it to a local variable" in shown
    assert shown.count("error:") == 1, shown


@pytest.mark.parametrize("name", OTHER)
def test_what_was_never_known(errors, name):
    body, path = OTHER[name]
    shown = errors(program_of(body))
    assert f"`{path}` may be null" in shown
    assert shown.count("error:") == 1, shown


def test_what_is_known_is_not_checked_again(instructions):
    """The same code as with a copy in a local variable."""
    by_path = "    require(n.next is not None, 0)\n    return n.next.x + n.next.x\n"
    by_copy = "    m = n.next\n    require(m is not None, 0)\n    return m.x + m.x\n"
    one, two = (
        instructions(DECLARATIONS + f"def f(n: Ptr[Node]) -> u64:\n{body}", "f")
        for body in (by_path, by_copy)
    )
    assert one == two
