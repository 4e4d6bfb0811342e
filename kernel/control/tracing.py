"""XEN_SYSCTL_tbuf_op: domain 0 sizes, switches and finds the trace rings.

Tracing is switched by the table that every trace call tests. Once all processors have answered that
they saw it off, nobody is in the middle of a record, and the rings can be put in order from here.
"""

import abi
from kpy import (
    Ptr,
    Tainted,
    bit,
    i64,
    ok,
    ref,
    require,
    static,
    u32,
    u64,
    wrapping_add,
)

from kernel.base.guest_bitmap import read_bitmap
from kernel.base.registry import sysctl
from kernel.base.spinlock import SpinLock
from kernel.control.trace_buffer import alloc_trace_buffers, t_info, t_info_bytes
from kernel.frames.core_page import core_page_mfn
from kernel.trace.turn import fill_table, park, report_lost
from kernel.x86.ipi import WORK_FLUSH_TLB, flush_others
from kernel.x86.percpu import cpu_by_id, nr_cpus, online_cpus, this_cpu

import kernel.trace.turn  # isort: skip  its statics are assigned here

trace_lock = static(SpinLock)  # guards all below
event_mask = static(Tainted[u32], abi.TRC_ALL)


@sysctl(abi.XEN_SYSCTL_tbuf_op)
def sysctl_tbuf_op(op: Ptr[Tainted[abi.xen_sysctl]]) -> i64:
    """Control the trace buffers.

    Source: Xen public ABI, sysctl.h, xen_sysctl_tbuf_op.
    Errors: -EINVAL, no such operation, or there are no rings to enable, or there are rings already
    (or no memory for them) when they are to be made; -EFAULT, the mask.
    """
    request = ref(op.u.tbuf_op)
    with trace_lock:
        match request.cmd:
            case abi.XEN_SYSCTL_TBUFOP_get_info:
                request.evt_mask = event_mask
                request.size = t_info_bytes
                info = t_info
                request.buffer_mfn = u64(core_page_mfn(info)) if info is not None else u64(0)
                return 0
            case abi.XEN_SYSCTL_TBUFOP_set_cpu_mask:
                return set_cpu_mask(ref(request.cpu_mask))
            case abi.XEN_SYSCTL_TBUFOP_set_evt_mask:
                set_event_mask(request.evt_mask)
                return 0
            case abi.XEN_SYSCTL_TBUFOP_set_size:
                return alloc_trace_buffers(request.size)
            case abi.XEN_SYSCTL_TBUFOP_enable:
                return enable()
            case abi.XEN_SYSCTL_TBUFOP_disable:
                disable()
                return 0
            case _:
                return -abi.EINVAL


def set_cpu_mask(bitmap: Ptr[Tainted[abi.xenctl_bitmap]]) -> i64:
    """Choose the processors that record. Errors: -EFAULT, the bitmap."""
    mask = ok(read_bitmap(bitmap))
    was_enabled = kernel.trace.turn.is_enabled
    disable()
    kernel.trace.turn.traced_cpus = mask
    return enable() if was_enabled else 0


def set_event_mask(mask: Tainted[u32]) -> None:
    """Choose the events that are recorded."""
    global event_mask
    event_mask = mask
    if kernel.trace.turn.is_enabled:
        fill_table(mask)


def enable() -> i64:
    """Start recording. Errors: -EINVAL, there are no rings."""
    require(t_info is not None, -abi.EINVAL)
    disable()
    kernel.trace.turn.session = wrapping_add(kernel.trace.turn.session, 1)
    kernel.trace.turn.is_enabled = True
    fill_table(event_mask)
    return 0


def disable() -> None:
    """Stop recording, on all processors by the time this returns; report what was lost last."""
    kernel.trace.turn.is_enabled = False
    fill_table(0)
    flush_others(online_cpus() & ~bit(u64(this_cpu().id)), WORK_FLUSH_TLB)
    for cpu in range(nr_cpus):
        ring = ref(cpu_by_id(cpu).trace)
        if ring.size_bytes != 0:
            park(ring)
            report_lost(ring)
