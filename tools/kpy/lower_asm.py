"""Functions that are inline assembly: LLVM's `asm` in a function that is always inlined."""

from kpy.lower_types import escape, memory_type, quote, register_type, signature
from kpy.types import BOOL, NEVER, NONE, PtrType


def asm_function(unit, instance):
    """The definition of an `@asm` function."""
    traits = instance.function.traits
    result, params = signature(instance)
    named = ", ".join(f"{type_} %arg{i}" for i, type_ in enumerate(params))
    linkage, attributes = unit.linkage(instance)
    scope = unit.debug.subprogram(instance)
    location = unit.debug.location(instance.function.tree, scope)
    lines = [
        f"define {linkage}{result} {quote(instance.symbol)}({named}) {attributes} !dbg {scope} {{"
    ]
    arguments = [
        _argument(lines, i, type_, location) for i, (_, type_) in enumerate(instance.params)
    ]
    arguments = [
        _indirect(a, t, c)
        for a, (_, t), c in zip(arguments, instance.params, _inputs(traits), strict=True)
    ]
    effect = "sideeffect " if traits.sideeffect else ""
    type_ = "i8" if instance.result is BOOL else register_type(instance.result)
    template = escape(traits.template.encode())
    operands = ", ".join(arguments)
    code = f'asm {effect}inteldialect "{template}", "{traits.constraints}"'
    call = f"call {type_} {code}({operands}){location}"
    lines += _return(instance.result, call, type_, location)
    return "\n".join([*lines, "}"])


def _argument(lines, i, type_, location):
    if type_ is not BOOL:
        return f"{register_type(type_)} %arg{i}"
    lines.append(f"  %byte{i} = zext i1 %arg{i} to i8{location}")
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


def _return(result, call, type_, location):
    if result in (NONE, NEVER):
        return [
            f"  {call}",
            f"  ret void{location}" if result is NONE else f"  unreachable{location}",
        ]
    if result is BOOL:
        return [
            f"  %r = {call}",
            f"  %flag = icmp ne i8 %r, 0{location}",
            f"  ret i1 %flag{location}",
        ]
    return [f"  %r = {call}", f"  ret {type_} %r{location}"]
