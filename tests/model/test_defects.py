"""Defects of the core that a review or the state machines found, each reduced to a few calls."""

import abi
import pytest
from kpy.jit import KpyPanic

from tests.model import invariants
from tests.model.guest import (
    ARGUMENT_PAGES,
    ARGUMENTS,
    BASE,
    FIRST_DATA_PAGE,
    PAGE,
    create_guest,
    domctl,
    make,
    try_domctl,
)
from tests.model.picture import Picture

DATA = BASE + FIRST_DATA_PAGE * PAGE


def setup_table(who, domain_id, nr_frames):
    """List frames of a grant table; return the status and the frames."""
    at = who.put([0] * nr_frames)
    fields = {"dom": domain_id, "nr_frames": nr_frames, "frame_list": at}
    op = who.put(abi.gnttab_setup_table, **fields)
    number = abi.__HYPERVISOR_grant_table_op
    assert who.call(number, abi.GNTTABOP_setup_table, op, 1) == 0
    return who.get(abi.gnttab_setup_table, op).status, who.words(at, nr_frames)


def make_dead_but_present(machine):
    """Destroy a guest of which domain 0 has a page mapped; return it and the page's frame."""
    guest, dom0 = machine.guests[0], machine.dom0
    mfn = guest.pages[FIRST_DATA_PAGE]
    call = abi.__HYPERVISOR_update_va_mapping_otherdomain
    assert dom0.call(call, DATA, mfn << 12 | 7, abi.UVMF_INVLPG, guest.id) == 0
    domctl(dom0, abi.XEN_DOMCTL_destroydomain, guest.id)
    assert machine.domain(guest.id) is not None, "its frame keeps it"
    return guest, mfn


def test_a_dead_domains_grant_table_does_not_grow(machine):
    """Its new frames would keep the domain for ever: nobody takes it apart a second time."""
    guest, _ = make_dead_but_present(machine)
    status, _ = setup_table(machine.dom0, guest.id, 2)
    assert status == abi.GNTST_general_error
    assert machine.domain(guest.id).grant.nr_frames == 0
    assert machine.dom0.call(abi.__HYPERVISOR_update_va_mapping, DATA, 0, abi.UVMF_INVLPG) == 0
    assert machine.domain(guest.id) is None
    invariants.check(machine)


def test_descriptor_tables_of_a_new_vcpu_change_under_the_page_lock(machine):
    """While another processor holds the lock, nothing of the context may be installed yet."""
    dom0 = machine.dom0
    guest = create_guest(machine, nr_vcpus=2, initialised=1)
    gdt = guest.pages[FIRST_DATA_PAGE]
    assert guest.call(abi.__HYPERVISOR_update_va_mapping, DATA, 0, abi.UVMF_INVLPG) == 0
    context = make(abi.vcpu_guest_context)
    context.flags = abi.VGCF_in_kernel
    context.ctrlreg[3] = guest.pages[0] << 12
    context.gdt_ents, context.gdt_frames[0] = 8, gdt
    guest.domain.page_lock.owner = 4  # taken by processor 3
    request = {"vcpu": 1, "ctxt": dom0.put(bytes(context))}
    with pytest.raises(KpyPanic, match="wait for each other"):
        try_domctl(dom0, abi.XEN_DOMCTL_setvcpucontext, guest.id, vcpucontext=request)
    assert guest.vcpu(1).gdt_frames[0] == 0
    assert Picture(machine).frames[gdt].type_count == 0


def test_domain_0_gets_its_own_frames_back_without_old_translations(machine):
    """What it gave up and gets again may serve another of its programs by now."""
    dom0 = machine.dom0
    mfn = dom0.pages[FIRST_DATA_PAGE]
    dom0.write(DATA, b"known to the TLB")
    assert dom0.call(abi.__HYPERVISOR_update_va_mapping, DATA, 0, 0) == 0
    request = {"extent_start": dom0.put([mfn]), "nr_extents": 1, "domid": abi.DOMID_SELF}
    op = dom0.put(abi.xen_memory_reservation, **request)
    assert dom0.call(abi.__HYPERVISOR_memory_op, abi.XENMEM_decrease_reservation, op) == 1
    assert Picture(machine).frames[mfn].references == 0
    while Picture(machine).frames[mfn].references == 0:
        extent = ARGUMENTS + ARGUMENT_PAGES * PAGE - 8
        dom0.write(extent, bytes(8))
        op = dom0.put(abi.xen_memory_reservation, **(request | {"extent_start": extent}))
        assert dom0.call(abi.__HYPERVISOR_memory_op, abi.XENMEM_increase_reservation, op) == 1
    held = [t for cpu in Picture(machine).translations for t in cpu if t.frame == mfn]
    assert held == []


def test_exchanged_frames_of_a_dying_domain_are_not_given_numbers(machine):
    """enter_frames frees what it can't enter; the core went on as if the domain had got it."""
    domain = machine.guests[0].domain
    take, assign = (
        machine[f"kernel.frames.exchange.{n}"] for n in ("take_unowned", "assign_block")
    )
    mfn = take(0, 0)
    domain.tot_pages += 1  # a stolen frame still counts
    domain.is_dying = 1
    assert assign(domain, mfn, 0) is False
    assert machine.frame(mfn).info & 1 << 28, "it is free again"
