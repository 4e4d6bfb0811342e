"""Interrupts: from a vector to the timer, another processor's request, the console, or an event
channel of domain 0.

A *pirq* is domain 0's name for a device's interrupt: a wire of an I/O APIC (pirq = GSI), or a
message of a PCI device. Every pirq in use has a vector of its own, the same on all processors. A
level-triggered wire is masked while domain 0 works on it, until it says EOI; everything else needs
no acknowledgement beyond the local APIC's.
"""

import abi
from kpy import (
    Array,
    Ptr,
    Tainted,
    atomic_and,
    atomic_or,
    bit,
    export,
    i64,
    inline,
    newtype,
    ref,
    require,
    static,
    struct,
    truncate,
    u8,
    u32,
    u64,
    wrapping_add,
)

from kernel.base.ids import NR_PIRQS
from kernel.base.spinlock import SpinLock
from kernel.console.console import printk
from kernel.console.input import serve_console
from kernel.console.uart import COM1_IRQ, uart_enable_receive_interrupt
from kernel.entry.exit import exit_to_guest
from kernel.evtchn.pirq import send_guest_pirq
from kernel.frames.frame import Page
from kernel.sched.timer_heap import timer_interrupt
from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu
from kernel.trace.record import trace_3, tracing
from kernel.x86 import ioapic
from kernel.x86.apic import (
    END_DEVICE_VECTOR,
    ERROR_VECTOR,
    FIRST_DEVICE_VECTOR,
    IPI_VECTOR,
    SPURIOUS_VECTOR,
    TIMER_VECTOR,
    apic_eoi,
)
from kernel.x86.cpu import rdtsc
from kernel.x86.descriptors import GUEST_INT80_VECTOR
from kernel.x86.ioapic import connect_wire, gsi_for_isa_irq, mask_wire
from kernel.x86.ipi import serve_mailbox
from kernel.x86.msi import MsiSource, mask_message, write_message
from kernel.x86.percpu import cpu_by_id, this_cpu

PIRQ_FREE = 0
PIRQ_RESERVED = 1  # given out by PHYSDEVOP_get_free_pirq, not yet mapped
PIRQ_GSI = 2
PIRQ_MSI = 3

PirqNumber = newtype("PirqNumber", u32, none=(1 << 32) - 1)
DeviceVector = newtype("DeviceVector", u32, none=0)


class Vector:
    """The vectors that are not devices'."""

    TIMER, IPI, ERROR, SPURIOUS = TIMER_VECTOR, IPI_VECTOR, ERROR_VECTOR, SPURIOUS_VECTOR


@struct
class Pirq:
    """One interrupt of domain 0's; guarded by irq_lock."""

    kind: u8  # PIRQ_*
    is_bound: bool  # to an event channel
    needs_eoi: bool  # masked, until domain 0 says EOI
    vector: DeviceVector | None  # None: never bound
    gsi: u32
    message: MsiSource
    domain: Ptr[Domain]  # of the event channel


irq_lock = static(SpinLock)
pirqs = static(Array[Pirq, NR_PIRQS])
vector_pirqs = static(Array[PirqNumber | None, 256], [None] * 256)
console_vector = static(DeviceVector | None)
# domain 0's page of bits, one for each pirq that wants EOI, if it gave one: referenced
eoi_map = static(Ptr[Page] | None)


@export
def interrupt_from_guest(vcpu: Ptr[Vcpu], vector: u32) -> Ptr[Vcpu]:
    """Serve an interrupt that struck a guest.

    Returns: the vCPU to run next. Context: from entry.asm.
    """
    serve_interrupt(vector)
    return exit_to_guest(vcpu)


@export
def interrupt_from_core(vector: u32) -> None:
    """Serve an interrupt that ended the idle loop's sleep. Context: from entry.asm."""
    serve_interrupt(vector)


@inline
def serve_interrupt(vector: u32) -> None:
    """Find out what a vector stands for, and do it."""
    if tracing(abi.TRC_PROXEN_INTERRUPT):
        start = rdtsc()
        serve_vector(vector)
        trace_3(abi.TRC_PROXEN_INTERRUPT, vector, truncate(u32, start), truncate(u32, rdtsc()))
    else:
        serve_vector(vector)


@inline
def serve_vector(vector: u32) -> None:
    """Serve the interrupt of a vector."""
    match vector:
        case Vector.TIMER:
            apic_eoi()
            timer_interrupt()
        case Vector.IPI:
            apic_eoi()
            count_ipi()
            serve_mailbox()
        case _:
            serve_device(vector)


@inline
def count_ipi() -> None:
    """Show whoever watches this processor (kernel/panic/cpu_watchdog.py) that it takes
    interrupts."""
    cpu = this_cpu()
    cpu.nr_ipis = wrapping_add(cpu.nr_ipis, 1)


def serve_device(vector: u32) -> None:
    """Serve a device's vector. A spurious interrupt is not in service, so it gets no EOI."""
    if vector == Vector.SPURIOUS:
        return
    apic_eoi()
    if DeviceVector(vector) == console_vector:
        serve_console()
        return
    number = vector_pirqs[vector]
    if number is not None:
        serve_pirq(u32(number))
    elif vector == Vector.ERROR:
        printk("local APIC error")


def serve_pirq(number: u32) -> None:
    """Signal a pirq's event channel; a level-triggered wire is held back until EOI."""
    pirq = ref(pirqs[number])
    with irq_lock:
        if not pirq.is_bound:
            return
        if pirq.kind == PIRQ_GSI and ioapic.wires[pirq.gsi].is_level:
            pirq.needs_eoi = True
            mask_wire(pirq.gsi, True)
        d = pirq.domain
    send_guest_pirq(d, number)


def alloc_vector() -> DeviceVector | None:
    """Return a vector that nothing uses, None when there is none. Locks: irq_lock."""
    for number in range(u32(FIRST_DEVICE_VECTOR), u32(END_DEVICE_VECTOR)):
        vector = DeviceVector(number)
        is_special = number == GUEST_INT80_VECTOR or vector == console_vector
        if vector_pirqs[vector] is None and not is_special:
            return vector
    return None


def console_irq_init() -> None:
    """Let typed characters interrupt the first processor. Context: boot."""
    global console_vector
    gsi = gsi_for_isa_irq(COM1_IRQ)
    if gsi >= ioapic.nr_gsis:
        return
    with irq_lock:
        vector = alloc_vector()
        assert vector is not None, "no vector is left for the console"
        console_vector = vector
    connect_wire(gsi, u32(vector), cpu_by_id(0).apic_id, False)
    uart_enable_receive_interrupt()


def pirq_bind(d: Ptr[Domain], number: u32, v: Ptr[Vcpu]) -> i64:
    """Connect a pirq, so that it signals an event channel of `d`, on the processor that runs `v`.

    Errors: -EINVAL, no such pirq; -EPERM, it is not mapped; -EBUSY, bound already (sharing between
    domains is not offered); -ENOSPC, out of vectors. Locks: takes irq_lock, inside the event lock.
    """
    require(number < NR_PIRQS, -abi.EINVAL)
    with irq_lock:
        pirq = ref(pirqs[number])
        require(pirq.kind in (PIRQ_GSI, PIRQ_MSI), -abi.EPERM)
        require(not pirq.is_bound, -abi.EBUSY)
        vector = vector_of(pirq, number)
        require(vector is not None, -abi.ENOSPC)
        pirq.domain = d
        pirq.is_bound = True
        pirq.needs_eoi = False
        connect(pirq, vector, cpu_by_id(v.processor).apic_id)
        set_eoi_bit(number, wants_eoi(pirq))
    return 0


def vector_of(pirq: Ptr[Pirq], number: u32) -> DeviceVector | None:
    """Return the vector of a pirq, a new one if it has none; None when there is none left.

    Locks: irq_lock.
    """
    vector = pirq.vector
    if vector is None:
        vector = alloc_vector()
        require(vector is not None, None)
        pirq.vector = vector
        vector_pirqs[vector] = PirqNumber(number)
    return vector


def connect(pirq: Ptr[Pirq], vector: DeviceVector, apic_id: u32) -> None:
    """Let the device interrupt a processor. Locks: irq_lock."""
    if pirq.kind == PIRQ_GSI:
        connect_wire(pirq.gsi, u32(vector), apic_id, False)
    else:
        write_message(ref(pirq.message), u32(vector), apic_id)
        mask_message(ref(pirq.message), False)


def pirq_unbind(number: u32) -> None:
    """Disconnect a pirq from its event channel; the device is held back. Locks: as pirq_bind."""
    with irq_lock:
        pirq = ref(pirqs[number])
        if pirq.is_bound:
            disconnect(pirq, number)


def disconnect(pirq: Ptr[Pirq], number: u32) -> None:
    """Undo `pirq_bind`, as far as it is about the device. Locks: irq_lock."""
    pirq.is_bound = False
    pirq.needs_eoi = False
    hold_back(pirq)
    set_eoi_bit(number, False)


def hold_back(pirq: Ptr[Pirq]) -> None:
    """Mask a pirq at its source. Locks: irq_lock."""
    if pirq.kind == PIRQ_GSI:
        mask_wire(pirq.gsi, True)
    else:
        mask_message(ref(pirq.message), True)


def pirq_eoi(number: Tainted[u32]) -> i64:
    """Let a level-triggered wire interrupt again, now that domain 0 has served the device.

    Errors: -EINVAL, domain 0 has no such pirq.
    """
    require(number < NR_PIRQS, -abi.EINVAL)
    with irq_lock:
        pirq = ref(pirqs[number])
        require(pirq.kind != PIRQ_FREE, -abi.EINVAL)
        if pirq.is_bound and pirq.needs_eoi:
            pirq.needs_eoi = False
            mask_wire(pirq.gsi, False)
    return 0


def offer_eoi_map(page: Ptr[Page]) -> bool:
    """Keep domain 0's bits in a page from now on. Returns: False when it offered one before."""
    global eoi_map
    with irq_lock:
        require(eoi_map is None, False)
        eoi_map = page
        for i in range(u32(NR_PIRQS)):
            set_eoi_bit(i, wants_eoi(ref(pirqs[i])))
    return True


def wants_eoi(pirq: Ptr[Pirq]) -> bool:
    """Tell whether a pirq is held back until domain 0 says EOI. Locks: irq_lock."""
    return pirq.is_bound and pirq.kind == PIRQ_GSI and ioapic.wires[pirq.gsi].is_level


def set_eoi_bit(number: u32, wanted: bool) -> None:
    """Tell domain 0, in the page it offered, whether a pirq wants EOI. Locks: irq_lock."""
    page = eoi_map
    if page is None:
        return
    word = ref(page[number // 64])
    mask = bit(u64(number) % 64)
    if wanted:
        atomic_or(word, mask)
    else:
        atomic_and(word, ~mask)
