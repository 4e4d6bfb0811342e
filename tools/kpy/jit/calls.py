"""The wrappers by which Python calls compiled code and compiled code calls Python.

Arguments and results travel through buffers of 8-byte cells, so that every type works. `kpy.try`
calls a wrapper and can be left by `kpy.throw` from any depth: a panic, or an exception of a Python
replacement, unwinds the stack to it.
"""

from kpy.front.structs import size_of
from kpy.front.types import BOOL, NEVER, NONE, ResultType, TupleType
from kpy.jit.memory import cell_size
from kpy.lower.types import (
    alignment,
    is_aggregate,
    memory_type,
    parameter,
    quote,
    register_type,
    signature,
)

# rdi = wrapper, rsi = arguments, rdx = result. The frame that `kpy.throw` returns to is kept in
# kpy.frame, the one below it on the stack: calls nest through Python.
TRY = r"""
.intel_syntax noprefix
.globl kpy.try
kpy.try:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    mov rcx, qword ptr [rip + kpy.frame@GOTPCREL]
    push qword ptr [rcx]
    mov qword ptr [rcx], rsp
    mov rax, rdi
    mov rdi, rsi
    mov rsi, rdx
    call rax
    xor eax, eax
kpy.leave:
    mov rcx, qword ptr [rip + kpy.frame@GOTPCREL]
    pop qword ptr [rcx]
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret
.globl kpy.throw
kpy.throw:
    mov rcx, qword ptr [rip + kpy.frame@GOTPCREL]
    mov rsp, qword ptr [rcx]
    mov eax, 1
    jmp kpy.leave
.att_syntax
"""

SUPPORT = """
@"kpy.frame" = global i64 0
@"kpy.pending" = global i64 0
declare void @"kpy.throw"() noreturn
declare i32 @"kpy.try"(ptr, ptr, ptr)
"""


def module_assembly():
    """The assembly above, as LLVM wants it."""
    return "\n".join(f'module asm "{line}"' for line in TRY.strip().splitlines())


def inbound(instance):
    """A function `wrapper(arguments, result)` that calls an instance."""
    lines, shown, offset = [], [], 0
    result, _ = signature(instance)
    if is_aggregate(instance.result):
        shown.append(
            f"ptr sret({register_type(instance.result)}) align {alignment(instance.result)} %result"
        )
    for i, (_, type_) in enumerate(instance.params):
        lines += _fetch(i, type_, offset)
        shown.append(f"{parameter(type_)} %v{i}")
        offset += cell_size(type_)
    call = f"call {result} {quote(instance.symbol)}({', '.join(shown)})"
    if instance.result in (NONE, NEVER) or is_aggregate(instance.result):
        lines.append(f"  {call}")
    else:
        lines.append(f"  %r = {call}")
        lines += _deliver(instance.result, "%r")
    name = quote(f"kpy.call.{instance.symbol}")
    return "\n".join([f"define void {name}(ptr %args, ptr %result) {{", *lines, "  ret void", "}"])


def _fetch(i, type_, offset):
    """Load argument `i` from its cells."""
    lines = [f"  %p{i} = getelementptr i8, ptr %args, i64 {offset}"]
    if is_aggregate(type_):
        return [f"  %v{i} = getelementptr i8, ptr %args, i64 {offset}"]
    if type_ is BOOL:
        return [*lines, f"  %b{i} = load i8, ptr %p{i}", f"  %v{i} = trunc i8 %b{i} to i1"]
    return [*lines, f"  %v{i} = load {memory_type(type_)}, ptr %p{i}"]


def _deliver(type_, register, offset=0, prefix="d"):
    """Store a result to its cells."""
    if isinstance(type_, ResultType):
        return _deliver(type_.form, register, offset, prefix)
    if isinstance(type_, TupleType):
        lines = []
        for i, item in enumerate(type_.items):
            name = f"{prefix}.{i}"
            lines.append(f"  %{name} = extractvalue {register_type(type_)} {register}, {i}")
            lines += _deliver(item, f"%{name}", offset, name)
            offset += cell_size(item)
        return lines
    where = f"%{prefix}.at"
    lines = [f"  {where} = getelementptr i8, ptr %result, i64 {offset}"]
    if type_ is BOOL:
        lines.append(f"  %{prefix}.byte = zext i1 {register} to i8")
        return [*lines, f"  store i8 %{prefix}.byte, ptr {where}"]
    return [*lines, f"  store {register_type(type_)} {register}, ptr {where}"]


def slot(symbol):
    """The name of the word that holds the address of the Python function behind a symbol.

    Addresses stand in memory, not in code, so that the code can be kept for the next run.
    """
    return f"kpy.python.{symbol}"


def outbound(instance):
    """A replaced function: it calls Python, which may ask to unwind."""
    result, params = signature(instance)
    named = ", ".join(f"{type_} %arg{i}" for i, type_ in enumerate(params))
    shift = 1 if is_aggregate(instance.result) else 0
    total = max(8, sum(cell_size(type_) for _, type_ in instance.params))
    lines = [
        f"  %args = alloca [{total} x i8], align 16",
        f"  %out = alloca [{max(8, cell_size(instance.result))} x i8], align 16",
    ]
    offset = 0
    for i, (_, type_) in enumerate(instance.params):
        lines += _send(i, f"%arg{i + shift}", type_, offset)
        offset += cell_size(type_)
    target, where = "%arg0" if shift else "%out", quote(slot(instance.symbol))
    lines += [f"  %python = load ptr, ptr {where}", f"  call void %python(ptr %args, ptr {target})"]
    lines += ['  %pending = load i64, ptr @"kpy.pending"', "  %bad = icmp ne i64 %pending, 0"]
    lines += [
        "  br i1 %bad, label %throw, label %fine",
        "throw:",
        '  call void @"kpy.throw"()',
        "  unreachable",
        "fine:",
    ]
    lines += _answer(instance.result)
    head = f"{where} = global i64 0\ndefine {result} {quote(instance.symbol)}({named}) {{"
    return "\n".join([head, *lines, "}"])


def _send(i, register, type_, offset):
    where = f"  %s{i} = getelementptr i8, ptr %args, i64 {offset}"
    if is_aggregate(type_):
        return [
            where,
            f"  call void @llvm.memcpy.p0.p0.i64(ptr %s{i}, ptr {register}, "
            f"i64 {size_of(type_)}, i1 false)",
        ]
    if type_ is BOOL:
        return [where, f"  %z{i} = zext i1 {register} to i64", f"  store i64 %z{i}, ptr %s{i}"]
    return [where, f"  store {register_type(type_)} {register}, ptr %s{i}"]


def _answer(type_):
    """Return what Python left in the result cells."""
    if type_ is NEVER:
        return ["  unreachable"]
    if type_ is NONE or is_aggregate(type_):
        return ["  ret void"]
    if isinstance(type_, ResultType):
        return _answer(type_.form)
    if isinstance(type_, TupleType):
        lines, offset, whole = [], 0, "poison"
        for i, item in enumerate(type_.items):
            lines += _receive(f"i{i}", item, offset)
            lines.append(
                f"  %w{i} = insertvalue {register_type(type_)} {whole}, "
                f"{register_type(item)} %i{i}, {i}"
            )
            whole, offset = f"%w{i}", offset + cell_size(item)
        return [*lines, f"  ret {register_type(type_)} {whole}"]
    return [*_receive("r", type_, 0), f"  ret {register_type(type_)} %r"]


def _receive(name, type_, offset):
    lines = [f"  %{name}.at = getelementptr i8, ptr %out, i64 {offset}"]
    if type_ is BOOL:
        return [
            *lines,
            f"  %{name}.byte = load i8, ptr %{name}.at",
            f"  %{name} = trunc i8 %{name}.byte to i1",
        ]
    return [*lines, f"  %{name} = load {memory_type(type_)}, ptr %{name}.at"]


PANIC = f"""
@"{slot("kpy_panic")}" = global i64 0
define void @"kpy_panic"(ptr %site, i64 %first, i64 %second) {{
  %cells = alloca [24 x i8], align 16
  store ptr %site, ptr %cells
  %b = getelementptr i8, ptr %cells, i64 8
  store i64 %first, ptr %b
  %c = getelementptr i8, ptr %cells, i64 16
  store i64 %second, ptr %c
  %python = load ptr, ptr @"{slot("kpy_panic")}"
  call void %python(ptr %cells, ptr %cells)
  call void @"kpy.throw"()
  unreachable
}}
"""
