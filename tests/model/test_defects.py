"""Defects of the core that a review or the state machines found, each reduced to a few calls."""

import abi
import pytest
from kpy.front.structs import offset_of, size_of
from kpy.jit import KpyPanic

from tests.model import invariants
from tests.model.guest import (
    ARGUMENT_PAGES,
    ARGUMENTS,
    CALLBACK,
    DATA,
    FIRST_DATA_PAGE,
    PAGE,
    create_guest,
    domctl,
    make,
    try_domctl,
)
from tests.model.picture import Picture


def setup_table(who, domain_id, nr_frames):
    """List frames of a grant table; return the status and the frames."""
    at = who.put([0] * nr_frames)
    fields = {"dom": domain_id, "nr_frames": nr_frames, "frame_list": at}
    op = who.put(abi.gnttab_setup_table, **fields)
    number = abi.__HYPERVISOR_grant_table_op
    assert who.call(number, abi.GNTTABOP_setup_table, op, 1) == 0
    return who.get(abi.gnttab_setup_table, op).status, who.words(at, nr_frames)


def make_dead_but_present(machine, flags=7):
    """Destroy a guest of which domain 0 has a page mapped; return it and the page's frame."""
    guest, dom0 = machine.guests[0], machine.dom0
    mfn = guest.pages[FIRST_DATA_PAGE]
    call = abi.__HYPERVISOR_update_va_mapping_otherdomain
    assert dom0.call(call, DATA, mfn << 12 | flags, abi.UVMF_INVLPG, guest.id) == 0
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
    assert guest.vcpu(1).gdt_frames[0] is None
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


def test_a_vcpu_of_a_dead_domain_gets_no_page_tables(machine):
    """Nobody would give their references back: the frame that keeps it would stay for ever."""
    machine.guests[0] = create_guest(machine, nr_vcpus=2, initialised=1)
    guest, mfn = make_dead_but_present(machine, flags=5)
    context = make(abi.vcpu_guest_context, flags=abi.VGCF_in_kernel)
    context.ctrlreg[3] = mfn << 12
    fields = {"vcpu": 1, "ctxt": machine.dom0.put(bytes(context))}
    command = abi.XEN_DOMCTL_setvcpucontext
    result = try_domctl(machine.dom0, command, guest.id, vcpucontext=fields)[0]
    assert result == -abi.EINVAL
    assert Picture(machine).frames[mfn].type_count == 0


PREEMPTED = 1 << 31  # in the count of mmu_update and mmuext_op: the call goes on


@pytest.mark.parametrize("done", [0, 0xFFFFFFFF, 0xFFFFFFFE, 1 << 31])
@pytest.mark.parametrize("name", ["mmu_update", "mmuext_op"])
def test_the_progress_of_a_call_that_goes_on_is_the_guests_word(machine, name, done):
    """Whatever it says, it only comes back one higher, as on Xen."""
    guest = machine.guests[0]
    flush = guest.put(abi.mmuext_op, cmd=abi.MMUEXT_TLB_FLUSH_LOCAL)
    plain = guest.put(abi.mmu_update, ptr=guest.pages[FIRST_DATA_PAGE] << 12, val=7)
    done_at = guest.put(done.to_bytes(4, "little"))
    request = plain if name == "mmu_update" else flush
    number = getattr(abi, f"__HYPERVISOR_{name}")
    assert guest.call(number, request, 1 | PREEMPTED, done_at, abi.DOMID_SELF) == 0
    assert guest.words(done_at, 1)[0] & 0xFFFFFFFF == (done + 1) % (1 << 32)


@pytest.mark.parametrize("name", ["mmu_update", "mmuext_op"])
def test_a_guest_cannot_forge_a_continuation(machine, name):
    """The result of a call that goes on is its word too: -ERESTART is a number like any other."""
    guest = machine.guests[0]
    number = getattr(abi, f"__HYPERVISOR_{name}")
    repeats = machine["tests.model.processors.nr_repeats"].value
    assert guest.call(number, 0, PREEMPTED, 0, -abi.ERESTART) == -abi.ERESTART
    entry = {"op": number, "args": [0, PREEMPTED, 0, -abi.ERESTART & (1 << 64) - 1, 0, 0]}
    at = guest.put(abi.multicall_entry, **entry)
    assert guest.call(abi.__HYPERVISOR_multicall, at, 1) == 0
    assert guest.get(abi.multicall_entry, at).result == -abi.ERESTART & (1 << 64) - 1
    assert machine["tests.model.processors.nr_repeats"].value == repeats


def test_a_dead_domain_has_no_highest_page(machine):
    """Its shared page is somebody else's by now, or nobody's."""
    guest, _ = make_dead_but_present(machine)
    mfn, dom0 = guest.domain.shared_info_mfn, machine.dom0
    field = offset_of(abi.shared_info, "arch") + offset_of(abi.arch_shared_info, "max_pfn")
    machine.memory.page(mfn)[field // 8] = 0x1234
    domid = dom0.put(guest.id.to_bytes(8, "little"))
    assert dom0.call(abi.__HYPERVISOR_memory_op, abi.XENMEM_maximum_gpfn, domid) == 0


@pytest.mark.parametrize("vcpu", [0, 1], ids=["started", "new"])
def test_nothing_is_written_to_what_was_a_dead_domains_page(machine, vcpu):
    """Its shared page may be anybody's: the core had pointers to it for as long as the domain."""
    machine.guests[0] = create_guest(machine, nr_vcpus=2, initialised=1)
    guest, _ = make_dead_but_present(machine)
    page, dom0 = machine.memory.page(guest.domain.shared_info_mfn), machine.dom0
    before = list(page)
    context = make(abi.vcpu_guest_context)
    context.flags = abi.VGCF_in_kernel
    for command in (abi.XEN_DOMCTL_setvcpucontext, abi.XEN_DOMCTL_getvcpucontext):
        request = {"vcpu": vcpu, "ctxt": dom0.put(bytes(context))}
        try_domctl(dom0, command, guest.id, vcpucontext=request)
    assert list(page) == before


def test_a_dead_domain_gets_nothing_that_nobody_would_take_away(machine):
    """Neither frames for a vCPU's tables, nor a promise of memory, nor a memory map."""
    machine.guests[0] = create_guest(machine, nr_vcpus=2, initialised=1)
    guest, mfn = make_dead_but_present(machine)
    dom0, claimed = machine.dom0, machine["kernel.frames.claims.nr_claimed"]
    before = claimed.value, guest.domain.refcount, machine.frame(mfn).info
    context = make(abi.vcpu_guest_context)
    context.flags = abi.VGCF_in_kernel
    context.gdt_ents, context.gdt_frames[0] = 8, mfn
    context.ctrlreg[3] = mfn << 12
    request = {"vcpu": 1, "ctxt": dom0.put(bytes(context))}
    command = abi.XEN_DOMCTL_setvcpucontext
    assert try_domctl(dom0, command, guest.id, vcpucontext=request)[0] == -abi.EINVAL
    op = dom0.put(abi.xen_memory_reservation, nr_extents=8, domid=guest.id)
    assert dom0.call(abi.__HYPERVISOR_memory_op, abi.XENMEM_claim_pages, op) == -abi.EINVAL
    entries = {"nr_entries": 1, "buffer": dom0.put(bytes(size_of(abi.e820entry)))}
    op = dom0.put(abi.xen_foreign_memory_map, domid=guest.id, map=entries)
    assert dom0.call(abi.__HYPERVISOR_memory_op, abi.XENMEM_set_memory_map, op) == -abi.EINVAL
    assert guest.domain.memory_map is None
    assert (claimed.value, guest.domain.refcount, machine.frame(mfn).info) == before


def test_a_context_tells_where_the_last_page_fault_was(machine):
    """What the toolstack's crash report shows as cr2."""
    guest, dom0 = machine.guests[0], machine.dom0
    handler = {"vector": 14, "cs": abi.FLAT_KERNEL_CS, "address": CALLBACK}
    table = guest.put(bytes(make(abi.trap_info, **handler)) + bytes(16))
    assert guest.call(abi.__HYPERVISOR_set_trap_table, table) == 0
    machine.trap(guest.vcpu(), 14, 2, 0x123456789ABC)
    domctl(dom0, abi.XEN_DOMCTL_pausedomain, guest.id)
    request = {"vcpu": 0, "ctxt": DATA}
    domctl(dom0, abi.XEN_DOMCTL_getvcpucontext, guest.id, vcpucontext=request)
    context = dom0.get(abi.vcpu_guest_context, DATA)
    assert context.ctrlreg[2] == 0x123456789ABC


def test_a_crash_report_shows_one_error_code(machine):
    """The processor's user bit is not what the guest's kernel would have seen."""
    guest = machine.guests[0]
    machine.trap(guest.vcpu(), 14, 6, 0x1000)  # without a handler
    assert guest.domain.is_shutting_down
    assert guest.vcpu().regs.error_code == 2
