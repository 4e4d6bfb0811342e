"""The model of the machine itself: that the core runs in it as on the machine."""

import time

import abi
import pytest
from kpy.jit import KpyPanic

from tests.model.guest import (
    BASE,
    DATA,
    PAGE,
    GuestFault,
    Stopped,
    create_guest,
    domctl,
    populate,
    try_domctl,
)


def destroy(machine, domain_id):
    """Destroy a domain."""
    domctl(machine.dom0, abi.XEN_DOMCTL_destroydomain, domain_id)


def test_guests_run_and_call(machine):
    for guest in (machine.dom0, *machine.guests):
        version = guest.call(abi.__HYPERVISOR_xen_version, abi.XENVER_version)
        assert version == 4 << 16 | 17
        assert guest.call(60) == -abi.ENOSYS


def test_hypercalls_reach_memory_through_the_guests_tables(machine):
    guest = machine.guests[0]
    guest.write(DATA - 8, b"across a page's end")
    op = guest.put(abi.evtchn_alloc_unbound, dom=abi.DOMID_SELF, remote_dom=0)
    call = (abi.__HYPERVISOR_event_channel_op, abi.EVTCHNOP_alloc_unbound)
    assert guest.call(*call, op) == 0
    assert guest.get(abi.evtchn_alloc_unbound, op).port == 1
    assert guest.call(*call, BASE + 300 * PAGE) == -abi.EFAULT
    assert guest.call(*call, 0xFFFF830000000000) == -abi.EFAULT, "the core's own memory"


def test_a_guest_reaches_nothing_of_the_core(machine):
    guest = machine.guests[0]
    for address in (0xFFFF800000000000, 0xFFFF820000000000, 0xFFFF830000000000 + 0x100000):
        with pytest.raises(GuestFault):
            guest.write(address, b"?")


def test_a_stale_translation_serves_until_it_is_flushed(machine):
    guest = machine.guests[0]
    guest.write(DATA, b"known to the TLB")
    call = (abi.__HYPERVISOR_update_va_mapping, DATA, 0)
    assert guest.call(*call, 0) == 0
    guest.write(DATA, b"still there")
    assert guest.call(*call, abi.UVMF_TLB_FLUSH) == 0
    with pytest.raises(GuestFault):
        guest.write(DATA, b"gone")


def test_work_is_done_in_pieces_when_interrupts_come(machine):
    repeats = machine["tests.model.processors.nr_repeats"]
    machine.preempt((1 << 64) - 1)
    assert len(populate(machine.dom0, abi.DOMID_SELF, 40)) == 40
    assert repeats.value == 2


def test_a_destroyed_domain_leaves_nothing(machine):
    free = machine["kernel.frames.heap.nr_free"]
    before = free.value
    guest = create_guest(machine)
    assert free.value < before
    destroy(machine, guest.id)
    machine["kernel.sched.schedule.do_idle_work"]()
    assert free.value == before


def test_many_vcpus_share_the_processors(machine):
    guests = [create_guest(machine, nr_vcpus=3) for _ in range(2)]
    for guest in guests:
        for number in range(3):
            assert guest.call(abi.__HYPERVISOR_xen_version, 0, vcpu=number) == 4 << 16 | 17


def test_a_paused_guest_stops_at_once(machine):
    guest = machine.guests[0]
    domctl(machine.dom0, abi.XEN_DOMCTL_pausedomain, guest.id)
    with pytest.raises(Stopped):
        guest.call(abi.__HYPERVISOR_xen_version, 0)
    domctl(machine.dom0, abi.XEN_DOMCTL_unpausedomain, guest.id)
    assert guest.call(abi.__HYPERVISOR_xen_version, 0) == 4 << 16 | 17


def test_a_panic_is_an_exception_and_starting_over_mends_it(machine):
    machine.frame(machine.guests[0].pages[12]).info -= 1 << 32  # one type reference too few
    with pytest.raises(KpyPanic):
        destroy(machine, machine.guests[0].id)
    machine.start_over()
    destroy(machine, machine.guests[0].id)


def test_only_domain_0_controls_domains(machine):
    result, _ = try_domctl(machine.guests[0], abi.XEN_DOMCTL_destroydomain, 2)
    assert result == -abi.EPERM


def test_thousands_of_calls_a_second(machine, capsys):
    """No limit: the figure is for the reader."""
    guest, count = machine.guests[0], 2000
    start = time.perf_counter()
    for _ in range(count):
        assert guest.call(abi.__HYPERVISOR_xen_version, abi.XENVER_version) > 0
    with capsys.disabled():
        print(f" {count / (time.perf_counter() - start):,.0f} hypercalls a second")
