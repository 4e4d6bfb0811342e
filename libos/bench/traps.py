"""What it costs to enter a guest kernel, for a trap, an event, a system call, and to leave it
again.
"""

import abi
from kpy import Array, extern, ref, static, truncate, u8, u32, u64

from libos.bench.measure import Row
from libos.bench.rows import Rows
from libos.event import alloc_unbound
from libos.hypercall import event_channel_op, hypercall, set_callbacks, set_trap_table
from libos.layout import shared_info
from libos.trap_vectors import TRAP_breakpoint, TRAP_page_fault

UNMAPPED = 0x1000
ANY_RING = 3

rows = Rows()
traps = static(Array[abi.trap_info, 3])
send = static(abi.evtchn_send)
kernel_stack = static(Array[u64, 512])


@extern
def bench_page_fault() -> None: ...


@extern
def bench_breakpoint() -> None: ...


@extern
def bench_upcall() -> None: ...


@extern
def bench_syscall() -> None: ...


@extern
def touch(address: u64) -> None: ...


@extern
def breakpoint() -> None: ...


@extern
def iret_to_self() -> None: ...


def prepare() -> None:
    """Register the short entries, and connect an event channel to ourselves."""
    traps[0] = abi.trap_info(
        vector=TRAP_breakpoint, flags=ANY_RING, cs=abi.FLAT_KERNEL_CS, address=u64(bench_breakpoint)
    )
    traps[1] = abi.trap_info(
        vector=TRAP_page_fault, flags=ANY_RING, cs=abi.FLAT_KERNEL_CS, address=u64(bench_page_fault)
    )
    assert set_trap_table(u64(ref(traps))) == 0
    assert set_callbacks(u64(bench_upcall), u64(bench_upcall)) == 0
    syscall = abi.callback_register(type=abi.CALLBACKTYPE_syscall, address=u64(bench_syscall))
    hypercall(abi.__HYPERVISOR_callback_op, abi.CALLBACKOP_register, u64(ref(syscall)), 0, 0, 0)
    stack_end = u64(ref(kernel_stack)) + 8 * len(kernel_stack)
    hypercall(abi.__HYPERVISOR_stack_switch, abi.FLAT_KERNEL_SS, stack_end, 0, 0, 0)
    bind = abi.evtchn_bind_interdomain(
        remote_dom=abi.DOMID_SELF, remote_port=alloc_unbound(abi.DOMID_SELF)
    )
    assert event_channel_op(abi.EVTCHNOP_bind_interdomain, ref(bind)) == 0
    send.port = bind.local_port
    shared_info.evtchn_mask[0] = (1 << 64) - 1


def forget_event() -> None:
    """Clear what a delivered event leaves behind, in the order that needs no lock: nobody else
    sends.
    """
    shared_info.vcpu_info[0].evtchn_upcall_pending = 0
    shared_info.vcpu_info[0].evtchn_pending_sel = 0
    shared_info.evtchn_pending[0] = 0
    shared_info.evtchn_pending[1] = 0


def send_event() -> None:
    event_channel_op(abi.EVTCHNOP_send, ref(send))


@rows.row("evtchn_send_masked", undo=forget_event)
def send_masked() -> None:
    send_event()


def unmask_port(masked_upcall: u32) -> None:
    shared_info.vcpu_info[0].evtchn_upcall_mask = truncate(u8, masked_upcall)
    shared_info.evtchn_mask[0] = 0


@rows.row("pf_kernel_bounce_iret")
def kernel_page_fault() -> None:
    touch(UNMAPPED)


@rows.row("int3_kernel_bounce_iret")
def kernel_breakpoint() -> None:
    breakpoint()


@rows.row("iret_kernel_to_kernel")
def kernel_iret() -> None:
    iret_to_self()


table = static(Array[Row, len(rows)], rows)

off_rows = Rows()
off_rows.row("evtchn_send_upcall_off", undo=forget_event)(send_event)
off_table = static(Array[Row, 1], off_rows)

on_rows = Rows()
on_rows.row("evtchn_send_upcall_iret", undo=forget_event)(send_event)
on_table = static(Array[Row, 1], on_rows)
