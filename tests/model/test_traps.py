"""Exceptions that the core hands on: software interrupts, breakpoints, NMIs, and guests that have
no handler for what happens to them.
"""

import abi
import pytest

from tests.model.execute import CODE, FLAGS, GP, PF, STACK, Executor
from tests.model.guest import BASE, PAGE, PRESENT, USER, Stopped, domctl, make

XEC_IDT = 2
SOFT, INT80 = 0x30, 0x80
BREAKPOINT, OVERFLOW, NMI = 3, 4, 2
CRASHED = 3
SPURIOUS, SOME_DEVICE = 0xFF, 0x60
TIMES = 255
EVENT_OP, SET_TABLE = abi.__HYPERVISOR_event_channel_op, abi.__HYPERVISOR_set_trap_table


@pytest.fixture
def guest(machine):
    """A kernel with handlers for the processor's exceptions, and for two interrupts."""
    guest = Executor(machine, machine.guests[0])
    for vector in (SOFT, INT80):
        entry = make(abi.trap_info, vector=vector, flags=3, cs=0xE033, address=handler(vector))
        at = guest.guest.put(bytes(entry) + bytes(16))
        assert guest.guest.call(SET_TABLE, at) == 0
    return guest


def handler(vector):
    """Return where the handler of a vector is, as `Executor` has it."""
    return 0x500000 + 16 * vector


def is_crashed(guest):
    domain = guest.guest.domain
    return bool(domain.is_shut_down) and domain.shutdown_code == CRASHED


def test_a_software_interrupt_goes_to_its_own_handler(guest):
    """int 0x30 is a #GP that names its gate; int 0x80 has a gate of its own."""
    assert guest.execute(b"\xcd\x30", GP, SOFT << 3 | XEC_IDT) == SOFT
    assert guest.guest.words(guest.v.regs.rsp, 3)[2] == CODE + 2
    assert guest.execute(b"\xcd\x31", GP, 0x31 << 3 | XEC_IDT) == GP
    guest.execute(b"\xcd\x80", INT80, 0)
    assert guest.v.regs.rip == handler(INT80)
    assert guest.v.regs.rsp == STACK - 7 * 8, "one frame, not two"
    entry = make(abi.trap_info, vector=INT80, cs=0xE033, address=handler(INT80))
    assert guest.guest.call(SET_TABLE, guest.guest.put(bytes(entry) + bytes(16))) == 0
    guest.execute(b"\xcd\x80", INT80, 0)
    assert guest.v.regs.rip == handler(GP), "a gate that its user mode may not use"


def test_a_spurious_interrupt_is_not_served(machine):
    """It was never in service: an EOI for it would end another interrupt."""
    eois = machine["tests.model.processors.nr_eois"]
    pending = machine["tests.model.processors.set_pending"]
    for vector, nr_eois in {SPURIOUS: 0, SOME_DEVICE: 1}.items():
        before = eois.value
        pending(0, vector)
        machine["tests.model.drive.settle"]()
        assert eois.value - before == nr_eois


def test_a_debugger_takes_a_breakpoint(guest):
    """The guest's handler does not run, the domain stops."""
    machine = guest.machine
    domctl(machine.dom0, abi.XEN_DOMCTL_setdebugging, guest.guest.id, setdebugging={"enable": 1})
    assert guest.execute(b"", BREAKPOINT, 0) == "done"
    assert guest.guest.domain.pause_count == 1
    assert guest.v.debugger_event == BREAKPOINT


def test_a_breakpoint_is_the_guests_when_no_debugger_can_stop_it(guest):
    """It is paused as often as it may be, by others."""
    machine, domain = guest.machine, guest.guest.domain
    domctl(machine.dom0, abi.XEN_DOMCTL_setdebugging, guest.guest.id, setdebugging={"enable": 1})
    domain.controller_pause_count = TIMES
    assert guest.execute(b"", BREAKPOINT, 0) == BREAKPOINT
    assert guest.v.debugger_event == 0


def test_other_exceptions_are_never_a_debuggers(guest):
    machine = guest.machine
    domctl(machine.dom0, abi.XEN_DOMCTL_setdebugging, guest.guest.id, setdebugging={"enable": 1})
    assert guest.execute(b"", OVERFLOW, 0) == OVERFLOW


def test_an_nmi_without_a_handler_is_lost(machine):
    """With one, it comes."""
    guest = machine.guests[0]
    send = (abi.__HYPERVISOR_vcpu_op, abi.VCPUOP_send_nmi, 0)
    assert guest.call(*send) == 0
    assert not guest.domain.is_shut_down and not guest.vcpu().nmi_masked
    at = guest.put(abi.xennmi_callback, handler_address=handler(NMI))
    assert guest.call(abi.__HYPERVISOR_nmi_op, abi.XENNMI_register_callback, at) == 0
    with pytest.raises(Stopped):
        guest.call(*send)
    assert guest.vcpu().regs.rip == handler(NMI) and guest.vcpu().nmi_masked


def test_an_exception_without_a_handler_ends_the_domain(machine):
    """And nothing is written to its stack."""
    guest = Executor(machine, machine.guests[0], handlers=[PF])
    before = guest.guest.words(STACK - 128, 16)
    guest.v.regs.rip, guest.v.regs.rsp = CODE, STACK
    machine["tests.model.drive.trap"](guest.v, OVERFLOW, 0, 0)
    assert is_crashed(guest)
    page = machine.memory.page(guest.guest.pages[8])
    assert list(page[496:]) == before


def test_an_event_without_a_callback_ends_the_domain(machine):
    """The guest has unmasked what it cannot take."""
    guest = Executor(machine, machine.guests[0])
    at = guest.guest.put(abi.evtchn_bind_ipi, vcpu=0)
    assert guest.guest.call(EVENT_OP, abi.EVTCHNOP_bind_ipi, at) == 0
    assert guest.guest.call(abi.__HYPERVISOR_set_callbacks, 0, BASE, BASE) == 0
    guest.v.vcpu_info.evtchn_upcall_mask = 0
    at = guest.guest.put(abi.evtchn_send, port=guest.guest.get(abi.evtchn_bind_ipi, at).port)
    guest.guest.call(EVENT_OP, abi.EVTCHNOP_send, at)
    assert is_crashed(guest)


def test_a_stack_that_cannot_take_the_exception_ends_the_domain(machine):
    guest = Executor(machine, machine.guests[0])
    entry = guest.guest.pages[8] << 12 | PRESENT | USER
    call = (abi.__HYPERVISOR_update_va_mapping, BASE + 8 * PAGE, entry, abi.UVMF_INVLPG)
    assert guest.guest.call(*call) == 0
    guest.v.regs.rip, guest.v.regs.rsp = CODE, STACK
    machine["tests.model.drive.trap"](guest.v, OVERFLOW, 0, 0)
    assert is_crashed(guest)


def test_flags_of_an_exception(guest):
    """Single steps end at the handler's door."""
    assert guest.execute(b"", OVERFLOW, 0, rflags=FLAGS | 1 << 8) == OVERFLOW
    assert guest.v.regs.rflags & 1 << 8 == 0
