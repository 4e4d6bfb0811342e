"""Hypercall dispatch: from a guest kernel's `syscall` to the handler and back.

The table's entries have one shape, `entry(vcpu, a, b, c, d, e) -> i64`: the calling vCPU and the
five argument registers as the guest passed them; the result goes to rax. Of those a handler,
`do_x(vcpu, …)`, takes as many as it has arguments (kernel/base/registry.py). kernel/handlers.py
imports all of them, which fills the table. Long work returns
`hypercall_continue(...)`, which is -ERESTART: the guest's rip then goes back to its `syscall`, and
the hypercall runs again with the stored arguments once everything more urgent has been done.
"""

import abi
from kpy import (
    Array,
    Fn,
    Ptr,
    Tainted,
    cold,
    export,
    i64,
    inline,
    noinline,
    ref,
    require,
    static,
    truncate,
    u32,
    u64,
    wrapping_sub,
)

from kernel.base.registry import hypercalls
from kernel.entry.bounce import bounce_syscall
from kernel.entry.exit import exit_to_guest
from kernel.state.continuation import take_continuation
from kernel.state.trace_ring import HEADER_3
from kernel.state.vcpu import Vcpu
from kernel.trace.record import tracing
from kernel.trace.wide import record_hypercall, record_return, record_value_1

NR_HYPERCALLS = 64
SYSCALL_INSTRUCTION_BYTES = 2

Word = Tainted[u64]
Handler = Fn[[Ptr[Vcpu], Word, Word, Word, Word, Word], i64]
hypercall_table = static(Array[Handler | None, NR_HYPERCALLS], hypercalls)


@export
def syscall_from_guest(vcpu: Ptr[Vcpu]) -> Ptr[Vcpu]:
    """Serve a `syscall`: a hypercall of the guest kernel, or a system call of its user.

    Returns: the vCPU to run next. Context: from entry.asm, on the physical CPU's stack.
    """
    if tracing(abi.TRC_PV_HYPERCALL_V2):
        if vcpu.kernel_mode:
            serve_traced(vcpu)
        else:
            bounce_traced(vcpu)
    elif vcpu.kernel_mode:
        serve_hypercall(vcpu)
    else:
        bounce_user(vcpu)
    return exit_to_guest(vcpu)


@noinline
def bounce_user(vcpu: Ptr[Vcpu]) -> None:
    """Let the guest kernel serve its user: apart, since a hypercall needs fewer registers saved."""
    bounce_syscall(vcpu)


@cold
def serve_traced(vcpu: Ptr[Vcpu]) -> None:
    """Serve a hypercall, and record when it began and ended."""
    regs = ref(vcpu.regs)
    number = regs.rax
    record_hypercall(abi.TRC_PV_HYPERCALL_V2, number, regs.rdi, regs.rsi, regs.rdx)
    serve_hypercall(vcpu)
    record_return(abi.TRC_PROXEN_HYPERCALL_RETURN, number, regs.rax)


@cold
def bounce_traced(vcpu: Ptr[Vcpu]) -> None:
    """Let the guest kernel serve its user, and record that."""
    number = truncate(u32, vcpu.regs.rax)
    record_value_1(abi.TRC_PROXEN_SYSCALL | HEADER_3, vcpu.regs.rip, number)
    bounce_syscall(vcpu)


@inline
def serve_hypercall(vcpu: Ptr[Vcpu]) -> None:
    """Run the handler that rax names and leave its result in rax, or arrange for it to run
    again.
    """
    regs = ref(vcpu.regs)
    result = call_handler(vcpu, regs.rax, regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8)
    if take_continuation(vcpu, result):
        regs.rip = wrapping_sub(regs.rip, SYSCALL_INSTRUCTION_BYTES)
        regs.rdi = vcpu.continuation[0]
        regs.rsi = vcpu.continuation[1]
        regs.rdx = vcpu.continuation[2]
        regs.r10 = vcpu.continuation[3]
    else:
        regs.rax = truncate(u64, result)


@inline
def call_handler(
    vcpu: Ptr[Vcpu],
    number: Tainted[u64],
    arg0: Tainted[u64],
    arg1: Tainted[u64],
    arg2: Tainted[u64],
    arg3: Tainted[u64],
    arg4: Tainted[u64],
) -> i64:
    """Call the handler of a hypercall with raw arguments.

    Returns: its result. Errors: -ENOSYS, nobody handles that number.
    """
    require(number < NR_HYPERCALLS, -abi.ENOSYS)
    handler = hypercall_table[number]
    require(handler is not None, -abi.ENOSYS)
    return handler(vcpu, arg0, arg1, arg2, arg3, arg4)
