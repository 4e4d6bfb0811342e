"""What races begin with: guests that have prepared a frame, and the calls that they make."""

import ctypes

import abi

from tests.model import turns
from tests.model.guest import ARGUMENTS, BASE, CALLBACK, MOV_RDI_RAX, PAGE, make
from tests.model.memory import FIRST
from tests.model.race import call

SPARE_L2_SLOT = 1  # of the guests' only L2 table: nothing is below
SPARE = BASE + (SPARE_L2_SLOT << 21)
SECRET = FIRST + 3  # a page table of the core's: no guest may reach it
FEW = 8  # free frames, as a race begins: idle processors look at each
READABLE, WRITABLE, NOT_MAPPED = 5, 7, 0


def begin(machine):
    """Start the machine over; return the frame's owner, another guest, and domain 0. Guests handle
    their page faults, and may store rax at rdi in kernel mode.
    """
    machine.start_over()
    drain(machine, FEW)
    machine["tests.model.processors.secret"].value = SECRET
    everybody = [machine.guests[1], machine.guests[0], machine.dom0]
    for guest in everybody:
        guest.put_at = ARGUMENTS
        handler = {"vector": 14, "cs": abi.FLAT_KERNEL_CS, "address": CALLBACK}
        table = guest.put(bytes(make(abi.trap_info, **handler)) + bytes(16))
        for vcpu in range(guest.nr_vcpus):
            assert guest.call(abi.__HYPERVISOR_set_trap_table, table, vcpu=vcpu) == 0
        guest.put_at = ARGUMENTS
        guest.write(turns.CODE_AT, MOV_RDI_RAX)
    return everybody


def address(page):
    """Where a guest's page is mapped at first."""
    return BASE + page * PAGE


def entry(mfn, flags=WRITABLE):
    return mfn << 12 | flags if flags else 0


def remap(va, l1e, flush=abi.UVMF_INVLPG, of=None):
    """The call that changes the entry of an address, to a frame of another domain perhaps."""
    if of is None:
        return call("update_va_mapping", va, l1e, flush)
    return call("update_va_mapping_otherdomain", va, l1e, flush, of)


def mmuext(guest, command, mfn, of=abi.DOMID_SELF):
    """An operation on a page table."""
    return call("mmuext_op", guest.put([command, mfn, 0]), 1, 0, of)


def set_ldt(guest, va, nr_entries=8):
    return call("mmuext_op", guest.put([abi.MMUEXT_SET_LDT, va, nr_entries]), 1, 0, abi.DOMID_SELF)


def pin(guest, mfn, level=1, of=abi.DOMID_SELF):
    return mmuext(guest, abi.MMUEXT_PIN_L1_TABLE + level - 1, mfn, of)


def unpin(guest, mfn, of=abi.DOMID_SELF):
    return mmuext(guest, abi.MMUEXT_UNPIN_TABLE, mfn, of)


def update(guest, table, index, value, foreign=abi.DOMID_SELF):
    """A request to change an entry of a table in force, or a word of another frame."""
    return call("mmu_update", guest.put([table << 12 | index * 8, value]), 1, 0, foreign)


def reservation(guest, command, *mfns):
    """Give frames up, or get as many."""
    fields = {"extent_start": guest.put(list(mfns)), "nr_extents": len(mfns)}
    at = guest.put(abi.xen_memory_reservation, domid=abi.DOMID_SELF, **fields)
    return call("memory_op", command, at)


def decrease(guest, mfn):
    return reservation(guest, abi.XENMEM_decrease_reservation, mfn)


def populate(guest, number=7):
    """Get a frame, as page `number`; where it is tells `populated`."""
    return reservation(guest, abi.XENMEM_populate_physmap, number)


def destroy(dom0, victim):
    """Destroy a guest."""
    fields = {"domain": victim.id, "interface_version": abi.XEN_DOMCTL_INTERFACE_VERSION}
    at = dom0.put(abi.xen_domctl, cmd=abi.XEN_DOMCTL_destroydomain, **fields)
    return call("domctl", at)


def grant_map(guest, granter, ref, va, flags=abi.GNTMAP_host_map):
    fields = {"host_addr": va, "flags": flags, "ref": ref, "dom": granter.id}
    at = guest.put(abi.gnttab_map_grant_ref, **fields)
    return call("grant_table_op", abi.GNTTABOP_map_grant_ref, at, 1)


def grant_unmap(guest, handle, va):
    at = guest.put(abi.gnttab_unmap_grant_ref, host_addr=va, handle=handle)
    return call("grant_table_op", abi.GNTTABOP_unmap_grant_ref, at, 1)


def grant_copy(guest, source, dest, size=16):
    """Copy between frames: each a frame number of the guest's, or a (granter, ref)."""
    flags, sides = 0, {}
    for name, side, bit in (
        ("source", source, abi.GNTCOPY_source_gref),
        ("dest", dest, abi.GNTCOPY_dest_gref),
    ):
        if isinstance(side, tuple):
            sides[name] = {"domid": side[0].id, "u": {"ref": side[1]}}
            flags |= bit
        else:
            sides[name] = {"domid": abi.DOMID_SELF, "u": {"gmfn": side}}
    at = guest.put(abi.gnttab_copy, flags=flags, len=size, **sides)
    return call("grant_table_op", abi.GNTTABOP_copy, at, 1)


# Preparations: done at once


def do(guest, step, vcpu=0):
    """Make a step's call now; return its result."""
    assert step.kind == turns.CALL
    put_at = guest.put_at
    result = guest.call(step.number, *step.arguments, vcpu=vcpu)
    guest.put_at = put_at
    return result


def access(machine, guest, step, vcpu=0):
    """Do a step that is the guest's own access now; return the bytes left over by a fault."""
    word = ctypes.c_uint64(step.arguments[0])
    how = 1 if step.kind == turns.WRITE else 0
    return machine["tests.model.drive.guest_access"](
        guest.vcpu(vcpu), step.number, ctypes.addressof(word), 8, how
    )


def must(guest, step, vcpu=0):
    """Make a step's call now; it must succeed."""
    result = do(guest, step, vcpu)
    assert result in (0, 1), f"a preparation failed: {result}"


def set_up_grants(guest):
    """Make a guest's grant table."""
    at = guest.put([0])
    fields = {"dom": abi.DOMID_SELF, "nr_frames": 1, "frame_list": at}
    op = guest.put(abi.gnttab_setup_table, **fields)
    must(guest, call("grant_table_op", abi.GNTTABOP_setup_table, op, 1))


def grant_frame(guest):
    """The frame of a guest's grant table."""
    memory = guest.machine.memory
    return FIRST + (int(guest.domain.grant.shared[0]) - memory.frames) // PAGE


def offer(granter, ref, mfn, to, flags=abi.GTF_permit_access):
    """Write a grant."""
    place = granter.domain.grant.shared[0].entries[ref]
    place.frame, place.domid, place.flags = mfn, to.id, flags


def drain(machine, rest=0):
    """Leave few free frames, or none: who gets one gets the one that was given up last."""
    allocate = machine["kernel.frames.allocation.alloc_domain_frames"]
    nr_free = machine["kernel.frames.heap.nr_free"]
    while nr_free.value > rest and allocate(machine.dom0.domain, 0, 0) is not None:
        pass


def fill(machine, mfn, words):
    """Give a frame contents, as if its owner had written them long ago."""
    page = machine.memory.page(mfn)
    page[:] = machine.memory.nothing
    for index, word in words.items():
        page[index] = word
