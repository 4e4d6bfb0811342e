"""What a frame's owner does to it in races, by one of its two vCPUs."""

import abi

from kernel.x86.memlayout import PERDOMAIN_VIRT_START
from kernel.x86.perdomain import LDT_PAGE, PAGES_PER_VCPU
from tests.model import stage
from tests.model.guest import PAGE
from tests.model.race import call, fault, write
from tests.model.race_actors import DATA_PAGE, OWNER, operation
from tests.model.stage import READABLE, WRITABLE, entry, remap

WRITE_FAULT = 3  # error code: present, a write
DATA_SEGMENT = 0x00CFF3000000FFFF


@operation(OWNER)
def map_writable(a):
    return [remap(a.at, entry(a.frame))]


@operation(OWNER)
def map_readable(a):
    return [remap(a.at, entry(a.frame, READABLE))]


@operation(OWNER)
def unmap_writable(a):
    a.map_own(WRITABLE)
    return [remap(a.at, 0, 0)]


@operation(OWNER)
def unmap_readable(a):
    a.map_own(READABLE)
    return [remap(a.at, 0, 0)]


@operation(OWNER)
def make_readable(a):
    a.map_own(WRITABLE)
    return [remap(a.at, entry(a.frame, READABLE), 0)]


@operation(OWNER)
def make_writable(a):
    a.map_own(READABLE)
    return [remap(a.at, entry(a.frame))]


def pins(level):
    @operation(OWNER, f"pin_l{level}")
    def pin(a):
        a.contents(level)
        return [stage.pin(a.guest, a.frame, level)]

    @operation(OWNER, f"unpin_l{level}")
    def unpin(a):
        a.contents(level)
        a.prepare(stage.pin(a.guest, a.frame, level))
        return [stage.unpin(a.guest, a.frame)]


for number in (1, 2, 3, 4):
    pins(number)


@operation(OWNER)
def link(a):
    a.contents(1)
    return [stage.update(a.guest, a.owner.pages[2], stage.SPARE_L2_SLOT, entry(a.frame))]


@operation(OWNER)
def unlink(a):
    a.contents(1)
    l2 = a.owner.pages[2]
    a.prepare(stage.update(a.guest, l2, stage.SPARE_L2_SLOT, entry(a.frame)))
    a.touch(stage.SPARE)
    return [stage.update(a.guest, l2, stage.SPARE_L2_SLOT, 0)]


@operation(OWNER)
def update_entry(a):
    a.contents(1)
    a.prepare(stage.pin(a.guest, a.frame))
    return [stage.update(a.guest, a.frame, 100 + a.number, a.data)]


@operation(OWNER)
def clear_entry(a):
    a.contents(1)
    a.prepare(stage.pin(a.guest, a.frame))
    return [stage.update(a.guest, a.frame, 0, 0)]


@operation(OWNER)
def exchange(a):
    sides = {
        "in_": {"extent_start": a.guest.put([a.frame]), "nr_extents": 1, "domid": abi.DOMID_SELF},
        "out": {"extent_start": a.guest.put([7]), "nr_extents": 1, "domid": abi.DOMID_SELF},
    }
    at = a.guest.put(abi.xen_memory_exchange, **sides)
    return [call("memory_op", abi.XENMEM_exchange, at)]


@operation(OWNER)
def decrease(a):
    return [stage.decrease(a.guest, a.frame)]


@operation(OWNER)
def decrease_and_populate(a):
    return [stage.decrease(a.guest, a.frame), stage.populate(a.guest)]


@operation(OWNER)
def set_gdt(a):
    return [call("set_gdt", a.guest.put([a.frame]), 8)]


@operation(OWNER)
def drop_gdt(a):
    a.prepare(call("set_gdt", a.guest.put([a.frame]), 8))
    return [call("set_gdt", a.guest.put([0]), 0)]


def descriptor(a):
    """The call that stores a data segment's descriptor in the frame; those of two actors differ."""
    return call("update_descriptor", (a.frame << 12) + 8 * (1 + a.number), DATA_SEGMENT)


@operation(OWNER)
def write_descriptor(a):
    return [descriptor(a)]


@operation(OWNER)
def change_descriptor(a):
    """The same in a GDT in force."""
    a.prepare(call("set_gdt", a.guest.put([a.frame]), 8))
    return [descriptor(a)]


@operation(OWNER)
def clear_page(a):
    return [stage.mmuext(a.guest, abi.MMUEXT_CLEAR_PAGE, a.frame)]


@operation(OWNER)
def new_user_base(a):
    a.contents(4)
    return [stage.mmuext(a.guest, abi.MMUEXT_NEW_USER_BASEPTR, a.frame)]


@operation(OWNER)
def drop_user_base(a):
    """Have no user mode any more."""
    a.prepare(*new_user_base(a))
    return [stage.mmuext(a.guest, abi.MMUEXT_NEW_USER_BASEPTR, 0)]


@operation(OWNER)
def new_base(a):
    """Run on the frame as an L4, with the same tables below."""
    a.contents(4)
    return [stage.mmuext(a.guest, abi.MMUEXT_NEW_BASEPTR, a.frame)]


@operation(OWNER)
def leave_base(a):
    """Go back from there."""
    a.prepare(*new_base(a))
    return [stage.mmuext(a.guest, abi.MMUEXT_NEW_BASEPTR, a.owner.pages[0])]


@operation(OWNER)
def copy_page(a):
    fields = {"cmd": abi.MMUEXT_COPY_PAGE, "arg1": {"mfn": a.frame}}
    op = a.guest.put(abi.mmuext_op, **fields, arg2={"src_mfn": a.owner.pages[DATA_PAGE]})
    return [call("mmuext_op", op, 1, 0, abi.DOMID_SELF)]


@operation(OWNER)
def place_vcpu_info(a):
    at = a.guest.put(abi.vcpu_register_vcpu_info, mfn=a.frame, offset=64 * (1 + a.number))
    return [call("vcpu_op", abi.VCPUOP_register_vcpu_info, a.vcpu, at)]


@operation(OWNER)
def revoke_and_pin(a):
    """End a grant, then make the frame a page table."""
    a.contents(1)
    a.prepare(remap(a.at, entry(stage.grant_frame(a.guest))))
    return [write(a.at + 8 * ref, 0) for ref in (1, 2)] + [stage.pin(a.guest, a.frame)]


@operation(OWNER)
def copy_own(a):
    return [stage.grant_copy(a.guest, a.owner.pages[DATA_PAGE], a.frame)]


@operation(OWNER)
def write_entry(a):
    """Write to the frame as an L1 table in force, through a read-only mapping."""
    a.contents(1)
    a.prepare(call("vm_assist", abi.VMASST_CMD_enable, abi.VMASST_TYPE_writable_pagetables))
    a.prepare(stage.pin(a.guest, a.frame), remap(a.at, entry(a.frame, READABLE)))
    return [fault(a.at + 8 * (100 + a.number), a.data, WRITE_FAULT)]


def ldt_of(a):
    """Return where the core shows the processor the LDT of an actor's vCPU."""
    return PERDOMAIN_VIRT_START + a.vcpu * PAGES_PER_VCPU * PAGE + LDT_PAGE * PAGE


@operation(OWNER)
def use_ldt(a):
    """Let the processor look into the frame as an LDT."""
    a.prepare(remap(a.at, entry(a.frame, READABLE)), stage.set_ldt(a.guest, a.at))
    return [fault(ldt_of(a), 0, 0)]


@operation(OWNER)
def drop_ldt(a):
    """Leave such an LDT."""
    use_ldt(a)
    a.fault(ldt_of(a))
    return [stage.set_ldt(a.guest, 0, 0)]
