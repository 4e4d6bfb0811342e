"""Functions that are inline assembly: LLVM's `asm` in a function that is always inlined."""

from kpy.front.types import BOOL, NEVER, NONE, PtrType
from kpy.lower.types import escape, memory_type, quote, register_type, signature


def asm_function(unit, instance):
    """The definition of an `@asm` function.

    It has no debug information, so its instructions belong to the line that asks for them.
    """
    traits = instance.function.traits
    result, params = signature(instance)
    named = ", ".join(f"{type_} %arg{i}" for i, type_ in enumerate(params))
    linkage, attributes = unit.linkage(instance)
    lines = [f"define {linkage}{result} {quote(instance.symbol)}({named}) {attributes} {{"]
    arguments = [_argument(lines, i, type_) for i, (_, type_) in enumerate(instance.params)]
    arguments = [
        _indirect(a, t, c)
        for a, (_, t), c in zip(arguments, instance.params, _inputs(traits), strict=True)
    ]
    effect = "sideeffect " if traits.sideeffect else ""
    type_ = "i8" if instance.result is BOOL else register_type(instance.result)
    template = escape(traits.template.encode())
    operands = ", ".join(arguments)
    code = f'asm {effect}inteldialect "{template}", "{traits.constraints}"'
    call = f"call {type_} {code}({operands})"
    lines += _return(instance.result, call, type_)
    return "\n".join([*lines, "}"])


def _argument(lines, i, type_):
    if type_ is not BOOL:
        return f"{register_type(type_)} %arg{i}"
    lines.append(f"  %byte{i} = zext i1 %arg{i} to i8")
    return f"i8 %byte{i}"


def _inputs(traits):
    """The constraints that take an argument, in order."""
    parts = [part.strip() for part in traits.constraints.split(",") if part.strip()]
    return [p for p in parts if not p.startswith("~") and (not p.startswith("=") or "*" in p)]


def _indirect(argument, type_, constraint):
    """A memory operand (`*m`) tells what it points to."""
    if "*" not in constraint or not isinstance(type_, PtrType):
        return argument
    return argument.replace("ptr ", f"ptr elementtype({memory_type(type_.target)}) ", 1)


def _return(result, call, type_):
    if result in (NONE, NEVER):
        return [
            f"  {call}",
            "  ret void" if result is NONE else "  unreachable",
        ]
    if result is BOOL:
        return [
            f"  %r = {call}",
            "  %flag = icmp ne i8 %r, 0",
            "  ret i1 %flag",
        ]
    return [f"  %r = {call}", f"  ret {type_} %r"]
