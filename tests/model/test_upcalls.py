"""When a guest kernel is entered for events, and when not."""

import abi
import pytest

from tests.model.guest import CALLBACK, Stopped, domctl

EVENT_OP = abi.__HYPERVISOR_event_channel_op


@pytest.fixture
def caller(machine):
    """A guest that unmasks events; its own port is number 1."""
    guest = machine.guests[0]
    at = guest.put(abi.evtchn_bind_ipi, vcpu=0)
    assert guest.call(EVENT_OP, abi.EVTCHNOP_bind_ipi, at) == 0
    guest.vcpu().vcpu_info.evtchn_upcall_mask = 0
    return guest


def send(guest, port=1):
    return guest.call(EVENT_OP, abi.EVTCHNOP_send, guest.put(abi.evtchn_send, port=port))


def is_entered(guest, call):
    """Whether a hypercall ends in the event callback."""
    try:
        call()
    except Stopped:
        assert guest.vcpu().regs.rip == CALLBACK
        assert guest.vcpu().vcpu_info.evtchn_upcall_mask == 1
        return True
    return False


def version(guest):
    return lambda: guest.call(abi.__HYPERVISOR_xen_version, abi.XENVER_version)


def test_no_event_no_upcall(caller):
    assert not is_entered(caller, version(caller))


def test_an_event_enters_the_kernel_once(caller):
    """It masks further ones until the kernel unmasks them itself."""
    assert is_entered(caller, lambda: send(caller))
    assert not is_entered(caller, lambda: send(caller))
    assert not is_entered(caller, version(caller))


def test_masked_events_wait(caller):
    caller.vcpu().vcpu_info.evtchn_upcall_mask = 1
    assert not is_entered(caller, lambda: send(caller))
    caller.vcpu().vcpu_info.evtchn_upcall_mask = 0
    assert is_entered(caller, version(caller))


def test_a_pending_port_is_not_told_again(caller):
    """The guest has seen the word, but not yet cleared the port's bit: one event, not two."""
    assert is_entered(caller, lambda: send(caller))
    info = caller.vcpu().vcpu_info
    info.evtchn_upcall_pending = info.evtchn_pending_sel = info.evtchn_upcall_mask = 0
    assert not is_entered(caller, lambda: send(caller))
    assert info.evtchn_pending_sel == 0


def test_a_word_is_not_told_again(caller):
    """Another port of a word that the guest is about to look at anyway."""
    caller.vcpu().vcpu_info.evtchn_upcall_mask = 1
    at = caller.put(abi.evtchn_bind_virq, virq=abi.VIRQ_DEBUG, vcpu=0)
    assert caller.call(EVENT_OP, abi.EVTCHNOP_bind_virq, at) == 0
    at = caller.put(abi.evtchn_alloc_unbound, dom=abi.DOMID_SELF, remote_dom=abi.DOMID_SELF)
    assert caller.call(EVENT_OP, abi.EVTCHNOP_alloc_unbound, at) == 0
    at = caller.put(abi.evtchn_bind_interdomain, remote_dom=abi.DOMID_SELF, remote_port=3)
    assert caller.call(EVENT_OP, abi.EVTCHNOP_bind_interdomain, at) == 0
    info = caller.vcpu().vcpu_info
    caller.domain.shared_info.evtchn_pending[0] = 0
    info.evtchn_pending_sel, info.evtchn_upcall_pending, info.evtchn_upcall_mask = 1, 0, 0
    assert not is_entered(caller, lambda: send(caller))


def test_a_blocked_guest_goes_on_at_an_event(machine, caller):
    """dom0's signal wakes it into its callback."""
    at = caller.put(abi.evtchn_alloc_unbound, dom=abi.DOMID_SELF, remote_dom=0)
    assert caller.call(EVENT_OP, abi.EVTCHNOP_alloc_unbound, at) == 0
    dom0 = machine.dom0
    at = dom0.put(abi.evtchn_bind_interdomain, remote_dom=caller.id, remote_port=2)
    assert dom0.call(EVENT_OP, abi.EVTCHNOP_bind_interdomain, at) == 0
    port = dom0.get(abi.evtchn_bind_interdomain, at).local_port
    assert caller.call(abi.__HYPERVISOR_sched_op, abi.SCHEDOP_block) == 0
    assert caller.vcpu().regs.rip != CALLBACK and caller.vcpu().pause_flags
    assert send(dom0, port) == 0
    assert caller.vcpu().regs.rip == CALLBACK and not caller.vcpu().pause_flags


def test_a_paused_guest_is_entered_later(machine, caller):
    """The event waits for the pause's end."""
    domctl(machine.dom0, abi.XEN_DOMCTL_pausedomain, caller.id)
    caller.domain.shared_info.evtchn_pending[0] = 2
    info = caller.vcpu().vcpu_info
    info.evtchn_pending_sel = info.evtchn_upcall_pending = 1
    assert caller.vcpu().regs.rip != CALLBACK
    domctl(machine.dom0, abi.XEN_DOMCTL_unpausedomain, caller.id)
    assert caller.vcpu().regs.rip == CALLBACK


def test_a_masked_event_ends_no_block(machine, caller):
    """It waits, but the guest does not want it now."""
    info = caller.vcpu().vcpu_info
    info.evtchn_upcall_mask = info.evtchn_upcall_pending = 1
    machine["kernel.sched.wake.vcpu_block"](caller.vcpu())
    assert caller.vcpu().pause_flags


def test_who_blocks_is_blocked_also_while_paused(machine, caller):
    """As the toolstack's list of vCPUs shows it."""
    assert caller.call(abi.__HYPERVISOR_sched_op, abi.SCHEDOP_block) == 0
    runstate = caller.vcpu().sched.runstate
    assert runstate.state == abi.RUNSTATE_blocked
    domctl(machine.dom0, abi.XEN_DOMCTL_pausedomain, caller.id)
    assert runstate.state == abi.RUNSTATE_blocked
    domctl(machine.dom0, abi.XEN_DOMCTL_pausedomain, machine.guests[1].id)
    assert machine.guests[1].vcpu().sched.runstate.state == abi.RUNSTATE_offline
