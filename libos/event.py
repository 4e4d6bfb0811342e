"""Event channels. An event is a number that goes up: a thread that waits remembers the number and
waits for another one.

The upcall may come between any two instructions, so it does nothing but count; threads do the work.
A count cannot be missed or taken away, however many threads look at it.
"""

import abi
from kpy import (
    Array,
    Ptr,
    atomic_add,
    atomic_and,
    atomic_xchg,
    barrier,
    bit,
    ctz,
    export,
    ref,
    static,
    u8,
    u16,
    u32,
    u64,
    volatile_load,
    volatile_store,
)

from libos.hypercall import event_channel_op, set_callbacks, xen_version
from libos.layout import PAGE_SHIFT, WORD_BITS, Mfn, shared_info
from libos.memory import map_shared_page
from libos.start_info import boot

NR_PORTS = 256

counts = static(Array[u64, NR_PORTS])
upcall_entry = static(u8, extern=True, symbol="upcall_entry")
failsafe_entry = static(u8, extern=True, symbol="failsafe_entry")


def map_shared_info() -> None:
    map_shared_page(u64(ref(shared_info)), Mfn(boot().shared_info >> PAGE_SHIFT))


def init_events() -> None:
    assert set_callbacks(u64(ref(upcall_entry)), u64(ref(failsafe_entry))) == 0
    enable_events()


def disable_events() -> None:
    """Hold the upcall back; what comes in the meantime stays pending."""
    volatile_store(ref(shared_info.vcpu_info[0].evtchn_upcall_mask), 1)
    barrier()


def enable_events() -> None:
    barrier()
    volatile_store(ref(shared_info.vcpu_info[0].evtchn_upcall_mask), 0)
    if volatile_load(ref(shared_info.vcpu_info[0].evtchn_upcall_pending)) != 0:
        xen_version()  # on its way back from any hypercall the hypervisor delivers what is pending


@export
def handle_upcall(regs: Ptr[abi.cpu_user_regs]) -> None:
    """Count every pending event, with further upcalls held back. Reached from start.asm."""
    volatile_store(ref(shared_info.vcpu_info[0].evtchn_upcall_pending), 0)
    selector = atomic_xchg(ref(shared_info.vcpu_info[0].evtchn_pending_sel), 0)
    while selector != 0:
        word = ctz(selector)
        selector &= selector - 1
        count_word(word)


def count_word(word: u64) -> None:
    """Two levels: a bit of the selector stands for a word of evtchn_pending."""
    bits = volatile_load(ref(shared_info.evtchn_pending[word]))
    bits &= ~volatile_load(ref(shared_info.evtchn_mask[word]))
    while bits != 0:
        low = ctz(bits)
        bits &= bits - 1
        atomic_and(ref(shared_info.evtchn_pending[word]), ~bit(low))
        count_event(u32(word * WORD_BITS + low))


def count_event(port: u32) -> None:
    """Wake whoever waits for a port: also called by a thread that did another one's work."""
    atomic_add(ref(counts[port]), 1)


def event_count(port: u32) -> u64:
    return volatile_load(ref(counts[port]))


def unmask(port: u32) -> None:
    """Let a port's events through; the hypervisor also raises the upcall if one waits already."""
    assert port < NR_PORTS
    operation = abi.evtchn_unmask(port=port)
    event_channel_op(abi.EVTCHNOP_unmask, ref(operation))


def bind_virq(virq: u32) -> u32:
    """Return a port for a virtual interrupt."""
    operation = abi.evtchn_bind_virq(virq=virq)
    assert event_channel_op(abi.EVTCHNOP_bind_virq, ref(operation)) == 0
    unmask(operation.port)
    return operation.port


def alloc_unbound(remote_domid: u16) -> u32:
    """Return a port that another domain may bind to."""
    operation = abi.evtchn_alloc_unbound(dom=abi.DOMID_SELF, remote_dom=remote_domid)
    assert event_channel_op(abi.EVTCHNOP_alloc_unbound, ref(operation)) == 0
    unmask(operation.port)
    return operation.port


def notify(port: u32) -> None:
    operation = abi.evtchn_send(port=port)
    event_channel_op(abi.EVTCHNOP_send, ref(operation))


def close_port(port: u32) -> None:
    operation = abi.evtchn_close(port=port)
    event_channel_op(abi.EVTCHNOP_close, ref(operation))
