"""Lowering of statements."""

from dataclasses import dataclass

from kpy.check import typed
from kpy.check.table import Table
from kpy.front.types import NONE, VolatileType, u64
from kpy.lower import aggregate as lower_aggregate
from kpy.lower import attempt as lower_attempt
from kpy.lower import builtins as lower_builtins
from kpy.lower.expr import branch
from kpy.lower.function import load, store
from kpy.lower.ops import compare, compute
from kpy.lower.panics import mark
from kpy.lower.place import (
    Place,
    array_parts,
    clear_memory,
    element_address,
    place,
    put,
    read,
    value,
)
from kpy.lower.switch_points import LOAD, STORE, before_access, is_shared
from kpy.lower.types import is_aggregate, register_type

RULES = Table()
rule = RULES.of
RULE_MODULES = (
    lower_aggregate,
    lower_attempt,
    lower_builtins,
)  # importing them registers their rules


@dataclass
class Loop:
    """An open loop: where `continue` and `break` go."""

    onward: str
    end: str


@dataclass
class Held:
    """An open `with`: the statements that leave it."""

    leave: list[typed.Node]


def block(f, statements):
    for item in statements:
        statement(f, item)


def statement(f, node):
    f.at(node.at)
    RULES[type(node)](f, node)


@rule(typed.Assign)
def _assign(f, node):
    type_ = node.place.type
    if isinstance(node.value, typed.Uninitialized):
        f.slot(node.place.var) if isinstance(node.place, typed.Local) else None
        return
    if isinstance(node.value, typed.Zeroed):
        address = place(f, node.place).address
        if is_shared(node.place):
            before_access(f, address, STORE, type_)
        clear_memory(f, type_, address)
        return
    register = value(f, node.value)
    target = place(f, node.place)
    f.at(node.at)
    if is_shared(node.place):
        before_access(f, target.address, STORE, type_)
    put(f, node.place.var.type if isinstance(node.place, typed.Local) else type_, register, target)


@rule(typed.Augment)
def _augment(f, node):
    target, shared = place(f, node.place), is_shared(node.place)
    if shared:
        before_access(f, target.address, LOAD, node.place.type)
    old = load(f, node.place.type, target.address, target.volatile, target.align)
    right = value(f, node.value)
    f.at(node.at)
    new = compute(f, node.at, node.op, node.place.type, old, node.value, right)
    if shared:
        before_access(f, target.address, STORE, node.place.type)
    put(f, node.place.type, new, target)


@rule(typed.Evaluate)
def _evaluate(f, node):
    value(f, node.expr)


@rule(typed.If)
def _if(f, node):
    then, other, end = f.name("then"), f.name("else"), f.name("end")
    branch(f, node.test, then if node.then else end, other if node.other else end)
    for label, body in ((then, node.then), (other, node.other)):
        if body:
            f.label(label)
            block(f, body)
            f.jump(end)
    f.label(end)


@rule(typed.While)
def _while(f, node):
    head, body, end = f.name("head"), f.name("body"), f.name("end")
    f.label(head)
    branch(f, node.test, body, end)
    f.label(body)
    _inside(f, Loop(head, end), node.body)
    f.jump(head)
    f.label(end)


def _inside(f, frame, body):
    f.frames.append(frame)
    block(f, body)
    f.frames.pop()


@rule(typed.ForRange)
def _for_range(f, node):
    type_ = node.var.type
    start, stop = value(f, node.start), value(f, node.stop)
    step = value(f, node.step)
    f.at(node.at)
    known = node.step.value if isinstance(node.step, typed.Const) else 0
    if not known:
        f.check(
            f.emit(f"icmp eq {register_type(type_)} {step}, 0"),
            node.at,
            "the step of a `range` is 0",
        )
    counter = f.stack(type_, "counter")
    store(f, type_, stop if node.backwards else start, counter)
    head, body, onward, end = (f.name(hint) for hint in ("head", "body", "next", "end"))
    f.label(head)
    index = load(f, type_, counter)
    limit, op = (start, ">") if node.backwards else (stop, "<" if known >= 0 else ">")
    f.fork(compare(f, op, type_, index, limit), body, end, node.at)
    f.label(body)
    if node.backwards:
        index = f.emit(f"sub {register_type(type_)} {index}, 1")
        store(f, type_, index, counter)
    store(f, type_, index, f.slot(node.var))
    _inside(f, Loop(onward, end), node.body)
    f.label(onward)
    f.at(node.at)
    if not node.backwards:
        _advance(f, type_, index, step, counter, end)
    f.jump(head)
    f.label(end)


def _advance(f, type_, index, step, counter, end):
    """Add the step; a loop whose next index does not fit the type is at its end."""
    kind = register_type(type_)
    if step == "1":
        flag = "nsw" if type_.signed else "nuw"
        store(f, type_, f.emit(f"add {flag} {kind} {index}, 1"), counter)
        return
    name = f"llvm.{'s' if type_.signed else 'u'}add.with.overflow.{kind}"
    f.unit.declare(name, f"declare {{ {kind}, i1 }} @{name}({kind}, {kind})")
    both = f.emit(f"call {{ {kind}, i1 }} @{name}({kind} {index}, {kind} {step})")
    store(f, type_, f.emit(f"extractvalue {{ {kind}, i1 }} {both}, 0"), counter)
    fits = f.name("fits")
    f.branch(f.emit(f"extractvalue {{ {kind}, i1 }} {both}, 1"), end, fits)
    f.label(fits)


@rule(typed.ForEach)
def _for_each(f, node):
    address, length, base = array_parts(f, node.base)
    element = node.base.type.element
    f.at(node.at)
    counter, end, onward = f.stack(u64, "index"), f.name("end"), f.name("next")
    head, body = f.name("head"), f.name("body")
    store(f, u64, "0", counter)
    f.label(head)
    index = load(f, u64, counter)
    f.fork(f.emit(f"icmp ult i64 {index}, {length}"), body, end, node.at)
    f.label(body)
    if node.counter:
        store(f, node.counter.type, index, f.slot(node.counter))
    _bind_element(f, node, element, element_address(f, element, address, index), base)
    _inside(f, Loop(onward, end), node.body)
    f.label(onward)
    f.at(node.at)
    store(f, u64, f.emit(f"add nuw i64 {index}, 1"), counter)
    f.jump(head)
    f.label(end)


def _bind_element(f, node, element, address, base):
    slot = f.slot(node.var)
    if node.by_pointer:
        store(f, node.var.type, address, slot)
        return
    volatile = isinstance(element, VolatileType) or bool(base and base.volatile)
    seen = typed.Deref(node.at, node.var.type, None)
    register = read(f, seen, Place(address, volatile, base.align if base else None))
    put(f, node.var.type, register, Place(slot))


@rule(typed.Break)
def _break(f, node):
    _leave(f, "end")


@rule(typed.Continue)
def _continue(f, node):
    _leave(f, "onward")


def _leave(f, where):
    """Release every lock taken inside the innermost loop, then jump."""
    for frame in reversed(f.frames):
        if isinstance(frame, Loop):
            f.jump(getattr(frame, where))
            return
        block(f, frame.leave)


@rule(typed.Return)
def _return(f, node):
    register = value(f, node.value) if node.value is not None else ""
    type_ = f.instance.result
    if is_aggregate(type_):
        put(f, type_, register, Place("%arg0"))
    for frame in reversed(f.frames):
        if isinstance(frame, Held):
            block(f, frame.leave)
    f.at(node.at)
    if f.ended:
        return
    f.end(
        "ret void"
        if type_ is NONE or is_aggregate(type_)
        else f"ret {register_type(type_)} {register}"
    )


@rule(typed.Switch)
def _switch(f, node):
    subject, kind = value(f, node.subject), register_type(node.subject.type)
    end, labels = f.name("end"), [f.name("case") for _ in node.cases]
    arms = [
        f"{kind} {v}, label %{label}"
        for (values, _), label in zip(node.cases, labels, strict=True)
        for v in values
    ]
    default = f.name("default")
    f.at(node.at)
    f.end(f"switch {kind} {subject}, label %{default} [ {' '.join(arms)} ]")
    for (values, body), label in zip(node.cases, labels, strict=True):
        f.label(label)
        f.at(node.at)
        f.count_edge(f"case {' | '.join(str(int(v)) for v in values)}")
        block(f, body)
        f.jump(end)
    f.label(default)
    if node.default is None:
        kind = node.subject.type
        f.panic(node.subject.at, f"{mark(kind)} is no `{kind}`", (subject, kind))
    else:
        f.at(node.at)
        f.count_edge("case _")
        block(f, node.default)
        f.jump(end)
    f.label(end)


@rule(typed.With)
def _with(f, node):
    for hold in node.holds:
        put(f, hold.var.type, value(f, hold.value), Place(f.slot(hold.var)))
        entered = value(f, hold.enter) if hold.enter is not None else ""
        if hold.bound is not None:
            put(f, hold.bound.type, entered, Place(f.slot(hold.bound)))
        f.frames.append(Held(hold.leave))
    block(f, node.body)
    for _ in node.holds:
        frame = f.frames.pop()
        if not f.ended:
            block(f, frame.leave)


@rule(typed.Check)
def _check(f, node):
    fine, test = f.name("ok"), node.test
    if _has_two_values(test):
        left, right = (value(f, operand) for operand in test.operands)
        f.at(node.at)
        (op,), (one, two) = test.ops, test.operands
        kind = two.type if isinstance(one, typed.Const) else one.type
        text = f"{node.text}: {mark(kind)} {op} {mark(kind)}"
        panic = f.panic_block(node.at, text, ((left, kind), (right, kind)))
        f.branch(compare(f, op, kind, left, right), fine, panic)
    else:
        branch(f, test, fine, f.panic_block(node.at, node.text))
    f.label(fine)


def _has_two_values(test):
    """Whether a condition compares two values that a programmer wrote, neither of them `None`."""
    if not isinstance(test, typed.Compare) or len(test.ops) != 1:
        return False
    is_none = any(isinstance(e, typed.Const) and e.value is None for e in test.operands)
    return not is_none and test.at is not test.operands[0].at
