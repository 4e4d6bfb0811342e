"""mmu_update, mmuext_op, update_va_mapping, set_gdt, update_descriptor: every documented error.

The guest's tables: page 0 is its L4, 1 to 3 are L3 to L1; all other pages are mapped writable.
"""

import abi
import pytest

from kernel.frames.page_type import PGT_validated
from tests.model.codes import EACCES, EBUSY, EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, EPERM, ESRCH
from tests.model.errors import (
    CORE,
    NOBODY,
    TYPE_COUNT,
    UNMAPPED,
    In,
    Wrong,
    check,
    foreign_frame,
    guest,
    own_frame,
)
from tests.model.guest import BASE, FIRST_DATA_PAGE, PAGE

SELF, IO, XEN = abi.DOMID_SELF, abi.DOMID_IO, abi.DOMID_XEN
PRESENT, USER, UNCACHED, LARGE = 1, 4, 1 << 4, 1 << 7
L4, L3, L2, L1, DATA = 0, 1, 2, 3, FIRST_DATA_PAGE
NOTHING_THERE = 0x5000_0000_0000  # an address of the guest's without page tables
FREE_SLOT = 400 * 8  # of an L1: maps nothing
CORE_SLOT = 256 * 8  # of an L4: the core's
NO_FRAME = 1 << 39  # neither RAM nor a device's
GATE_TO_CORE = 0x00008C00E0000000  # selector 0xe000, the first of the core's descriptors
GATE_WITH_PARAMETERS = 0x00008C0100080000
TASK = 0x0000890000000000
VA = BASE + DATA * PAGE


def entry(frame, flags):
    """An entry that leads to a frame."""
    return lambda m: (frame(m) if callable(frame) else frame) << 12 | flags


def slot(table, offset, command=abi.MMU_NORMAL_PT_UPDATE):
    """The machine address of a table's entry, and a command."""
    return lambda m: own_frame(table)(m) << 12 | offset | command


def half_a_table(machine):
    """Let page 12 be an L1 whose validation is not over."""
    read_only(12)(machine)
    frame = own_frame(12)(machine)
    at = guest(machine).put(abi.mmuext_op, cmd=abi.MMUEXT_PIN_L1_TABLE, arg1={"mfn": frame})
    assert guest(machine).call(abi.__HYPERVISOR_mmuext_op, at, 1, 0, SELF) == 0
    machine.frame(frame).info &= ~PGT_validated


def no_more_types(machine):
    """Let a data page of the caller's have as many type references as can be counted."""
    machine.frame(own_frame(DATA)(machine)).info |= TYPE_COUNT


def given_up(machine):
    """Let dom0 have given up a frame, which still says that it is dom0's."""
    dom0, number = machine.dom0, 40
    machine.free_frame = dom0.pages[number]
    assert dom0.call(abi.__HYPERVISOR_update_va_mapping, BASE + number * PAGE, 0, 0) == 0
    fields = {"extent_start": dom0.put([machine.free_frame]), "nr_extents": 1, "domid": SELF}
    request = dom0.put(abi.xen_memory_reservation, **fields)
    call = (abi.__HYPERVISOR_memory_op, abi.XENMEM_decrease_reservation, request)
    assert dom0.call(*call) == 1


def update(ptr, val, foreign=SELF, count=1):
    request = In(abi.mmu_update, {"ptr": ptr, "val": val})
    return (abi.__HYPERVISOR_mmu_update, request, count, 0, foreign)


def mmuext(cmd, foreign=SELF, arg2=None, **arg1):
    request = In(abi.mmuext_op, {"cmd": cmd, "arg1": arg1, "arg2": arg2 or {}})
    return (abi.__HYPERVISOR_mmuext_op, request, 1, 0, foreign)


def map_va(va, value, flags=0):
    return (abi.__HYPERVISOR_update_va_mapping, va, value, flags)


def map_other(va, value, domain, flags=0):
    return (abi.__HYPERVISOR_update_va_mapping_otherdomain, va, value, flags, domain)


def set_gdt(frames, count):
    return (abi.__HYPERVISOR_set_gdt, lambda m: guest(m).put([f(m) for f in frames]), count)


def change_descriptor(address, descriptor):
    return (abi.__HYPERVISOR_update_descriptor, address, descriptor)


def read_only(number):
    """Let a data page of the caller's be mapped read-only, so that it may become a table."""

    def do(machine):
        frame = own_frame(number)(machine)
        call = map_va(BASE + number * PAGE, frame << 12 | PRESENT | USER)
        assert guest(machine).call(*call) == 0

    return do


def filled(number, *entries):
    """Write entries into a data page that then becomes read-only."""

    def do(machine):
        words = [value(machine) if callable(value) else value for value in entries]
        data = b"".join(word.to_bytes(8, "little") for word in words)
        guest(machine).write(BASE + number * PAGE, data)
        read_only(number)(machine)

    return do


def with_gdt(machine):
    """Let page 12 be the caller's GDT."""
    read_only(12)(machine)
    frames = guest(machine).put([own_frame(12)(machine)])
    assert guest(machine).call(abi.__HYPERVISOR_set_gdt, frames, 1) == 0


def pin(level, frame, foreign=SELF):
    return mmuext(abi.MMUEXT_PIN_L1_TABLE + level - 1, foreign, mfn=frame)


MAPS = [
    Wrong("requests unmapped", (abi.__HYPERVISOR_mmu_update, UNMAPPED, 1, 0, SELF), EFAULT),
    Wrong("requests in the core", (abi.__HYPERVISOR_mmu_update, CORE, 1, 0, SELF), EFAULT),
    Wrong("requests without end", (abi.__HYPERVISOR_mmu_update, BASE, 1 << 30, 0, SELF), EFAULT),
    Wrong("no such command", update(slot(L1, FREE_SLOT, 5), 0), ENOSYS),
    Wrong("no such domain", update(slot(L1, FREE_SLOT), 0, NOBODY), ESRCH),
    Wrong("one's own number", update(slot(L1, FREE_SLOT), 0, 1), ESRCH),
    Wrong("tables of nobody", update(slot(L1, FREE_SLOT), 0, SELF | NOBODY + 1 << 16), ESRCH),
    Wrong("another's tables", update(slot(L1, FREE_SLOT), 0, SELF | 2 + 1 << 16), EPERM),
    Wrong("frames of another", update(slot(L1, FREE_SLOT), 0, 2), EPERM),
    Wrong("frames of the core", update(slot(L1, FREE_SLOT), 0, XEN), EPERM),
    Wrong("another's table", update(entry(foreign_frame(L1), FREE_SLOT), 0), EINVAL),
    Wrong("no frame", update(NO_FRAME << 12, 0), EINVAL),
    Wrong("a descriptor table", update(slot(12, 0), 0), EINVAL, first=with_gdt),
    Wrong("a table not validated", update(slot(12, 0), 0), EINVAL, first=half_a_table),
    Wrong(
        "L2: an L1 not validated",
        update(slot(L2, 0), entry(own_frame(12), 7)),
        EINVAL,
        first=half_a_table,
    ),
    Wrong(
        "L1: writable too often",
        update(slot(L1, FREE_SLOT), entry(own_frame(DATA), 7)),
        EBUSY,
        first=no_more_types,
    ),
    Wrong(
        "L1: a free frame", map_va(VA, lambda m: m.free_frame << 12 | 5), EBUSY, "dom0", given_up
    ),
    Wrong(
        "L2: frames of another",
        update(lambda m: m.dom0.pages[L2] << 12, lambda m: m.dom0.pages[L1] << 12 | 7, 1),
        EINVAL,
        by="dom0",
    ),
    Wrong("L1: another's frame", update(slot(L1, FREE_SLOT), entry(foreign_frame(DATA), 5)), EBUSY),
    Wrong("L1: its own L1 writable", update(slot(L1, FREE_SLOT), entry(own_frame(L1), 7)), EBUSY),
    Wrong("L1: its own L4 writable", update(slot(L1, FREE_SLOT), entry(own_frame(L4), 7)), EBUSY),
    Wrong("L1: no frame", update(slot(L1, FREE_SLOT), entry(NO_FRAME, 5)), EPERM),
    Wrong("L1: all address bits", update(slot(L1, FREE_SLOT), ((1 << 52) - PAGE) | 5), EINVAL),
    Wrong(
        "L1: bits that no guest may set",
        update(slot(L1, FREE_SLOT), entry(own_frame(DATA), 5 | UNCACHED)),
        EINVAL,
    ),
    Wrong(
        "L1: the core's shared page is not another's",
        update(slot(L1, FREE_SLOT), entry(lambda m: m.guests[1].domain.shared_info_mfn, 5)),
        EBUSY,
    ),
    Wrong("L2: a data page", update(slot(L2, 0), entry(own_frame(DATA), 7)), EINVAL),
    Wrong("L2: a large page", update(slot(L2, 0), entry(own_frame(L1), 7 | LARGE)), EINVAL),
    Wrong("L2: another's table", update(slot(L2, 0), entry(foreign_frame(L1), 7)), EINVAL),
    Wrong("L2: no frame", update(slot(L2, 0), entry(NO_FRAME, 7)), EINVAL),
    Wrong("L2: an L2", update(slot(L2, 0), entry(own_frame(L2), 7)), EINVAL),
    Wrong("L3: an L1", update(slot(L3, 0), entry(own_frame(L1), 7)), EINVAL),
    Wrong("L4: the core's slot", update(slot(L4, CORE_SLOT), 0), EINVAL),
    Wrong("L4: the core's last slot", update(slot(L4, 271 * 8), 0), EINVAL),
    Wrong("L4: itself", update(slot(L4, 0), entry(own_frame(L4), 7)), EINVAL),
    Wrong("m2p: another's frame", update(entry(foreign_frame(DATA), 1), 0), EINVAL),
    Wrong("m2p: no frame", update(NO_FRAME << 12 | 1, 0), EINVAL),
    Wrong(
        "m2p: tables of another",
        update(entry(own_frame(DATA), 1), 0, SELF | 1 + 1 << 16),
        EPERM,
        by="dom0",
    ),
    Wrong("va: no table", map_va(NOTHING_THERE, 0), EINVAL),
    Wrong("va: the core's", map_va(CORE, 0), EINVAL),
    Wrong("va: not canonical", map_va(1 << 47, 0), EINVAL),
    Wrong("va: another's frame", map_va(VA, entry(foreign_frame(DATA), 5)), EBUSY),
    Wrong("va: a table writable", map_va(VA, entry(own_frame(L2), 7)), EBUSY),
    Wrong("va: its own L1, where it is", map_va(BASE + 3 * PAGE, entry(own_frame(L1), 7)), EBUSY),
    Wrong("va, other: no such domain", map_other(VA, 0, NOBODY), ESRCH),
    Wrong("va, other: not its to map", map_other(VA, entry(foreign_frame(DATA), 5), 2), EPERM),
    Wrong("va, other: the core's", map_other(VA, 0, XEN), EPERM),
]

EXTENDED = [
    Wrong("ext: unmapped", (abi.__HYPERVISOR_mmuext_op, UNMAPPED, 1, 0, SELF), EFAULT),
    Wrong("ext: in the core", (abi.__HYPERVISOR_mmuext_op, CORE, 1, 0, SELF), EFAULT),
    Wrong("ext: no such operation", mmuext(99), ENOSYS),
    Wrong("ext: the unused one", mmuext(14), ENOSYS),
    Wrong("ext: no such domain", pin(1, own_frame(DATA), NOBODY), ESRCH),
    Wrong("ext: of nobody's I/O", pin(1, own_frame(DATA), IO), EPERM),
    Wrong("ext: the core's", pin(1, own_frame(DATA), XEN), EPERM),
    Wrong("ext: another's", pin(1, foreign_frame(DATA), 2), EPERM),
    Wrong("pin: a page mapped writable", pin(1, own_frame(DATA)), EINVAL),
    Wrong("pin: another's", pin(1, foreign_frame(DATA)), EINVAL),
    Wrong("pin: no frame", pin(1, NO_FRAME), EINVAL),
    Wrong("pin: an L1 as L2", pin(2, own_frame(L1)), EINVAL),
    Wrong("pin: an L4 again", pin(4, own_frame(L4)), EINVAL),
    Wrong(
        "pin: an L1 with another's frame",
        pin(1, own_frame(12)),
        EBUSY,
        first=filled(12, entry(foreign_frame(DATA), 5)),
    ),
    Wrong(
        "pin: an L1 whose second entry is itself",
        pin(1, own_frame(12)),
        EBUSY,
        first=filled(12, entry(own_frame(DATA), 5), entry(own_frame(12), 7)),
    ),
    Wrong(
        "pin: an L1 with bits that no guest may set",
        pin(1, own_frame(12)),
        EINVAL,
        first=filled(12, entry(own_frame(DATA), 5 | UNCACHED)),
    ),
    Wrong(
        "pin: an L2 with a large page",
        pin(2, own_frame(12)),
        EINVAL,
        first=filled(12, entry(own_frame(L1), 7 | LARGE)),
    ),
    Wrong(
        "pin: an L2 with another's table",
        pin(2, own_frame(12)),
        EINVAL,
        first=filled(12, entry(foreign_frame(L1), 7)),
    ),
    Wrong(
        "pin: an L2 with a data page",
        pin(2, own_frame(12)),
        EINVAL,
        first=filled(12, entry(own_frame(DATA), 7)),
    ),
    Wrong("pin: a free frame", pin(1, lambda m: m.free_frame), EINVAL, "dom0", given_up),
    Wrong("unpin: not pinned", mmuext(abi.MMUEXT_UNPIN_TABLE, mfn=own_frame(L1)), EINVAL),
    Wrong("unpin: data", mmuext(abi.MMUEXT_UNPIN_TABLE, mfn=own_frame(DATA)), EINVAL),
    Wrong("unpin: another's", mmuext(abi.MMUEXT_UNPIN_TABLE, mfn=foreign_frame(L4)), EINVAL),
    Wrong("unpin: no frame", mmuext(abi.MMUEXT_UNPIN_TABLE, mfn=NO_FRAME), EINVAL),
    Wrong("new_baseptr: data", mmuext(abi.MMUEXT_NEW_BASEPTR, mfn=own_frame(DATA)), EINVAL),
    Wrong("new_baseptr: an L3", mmuext(abi.MMUEXT_NEW_BASEPTR, mfn=own_frame(L3)), EINVAL),
    Wrong("new_baseptr: another's", mmuext(abi.MMUEXT_NEW_BASEPTR, mfn=foreign_frame(L4)), EINVAL),
    Wrong("new_user_baseptr", mmuext(abi.MMUEXT_NEW_USER_BASEPTR, mfn=own_frame(DATA)), EINVAL),
    Wrong("new_baseptr: for another", mmuext(abi.MMUEXT_NEW_BASEPTR, 2, mfn=1), EPERM, by="dom0"),
    Wrong(
        "flush: bitmap unmapped",
        mmuext(abi.MMUEXT_TLB_FLUSH_MULTI, arg2={"vcpumask": UNMAPPED}),
        EINVAL,
    ),
    Wrong(
        "invlpg: bitmap unmapped",
        mmuext(abi.MMUEXT_INVLPG_MULTI, arg2={"vcpumask": UNMAPPED}, linear_addr=BASE),
        EINVAL,
    ),
    Wrong("flush_cache", mmuext(abi.MMUEXT_FLUSH_CACHE), EACCES),
    Wrong("flush_cache_global", mmuext(abi.MMUEXT_FLUSH_CACHE_GLOBAL), EINVAL),
    Wrong("mark_super", mmuext(abi.MMUEXT_MARK_SUPER), EOPNOTSUPP),
    Wrong("clear: a table", mmuext(abi.MMUEXT_CLEAR_PAGE, mfn=own_frame(L1)), EINVAL),
    Wrong("clear: another's", mmuext(abi.MMUEXT_CLEAR_PAGE, mfn=foreign_frame(DATA)), EINVAL),
    Wrong("clear: no frame", mmuext(abi.MMUEXT_CLEAR_PAGE, mfn=NO_FRAME), EINVAL),
    Wrong(
        "copy: to a table",
        mmuext(abi.MMUEXT_COPY_PAGE, arg2={"src_mfn": own_frame(DATA)}, mfn=own_frame(L1)),
        EINVAL,
    ),
    Wrong(
        "copy: from another's",
        mmuext(abi.MMUEXT_COPY_PAGE, arg2={"src_mfn": foreign_frame(DATA)}, mfn=own_frame(DATA)),
        EINVAL,
    ),
    Wrong(
        "copy: to another's",
        mmuext(abi.MMUEXT_COPY_PAGE, arg2={"src_mfn": own_frame(DATA)}, mfn=foreign_frame(DATA)),
        EINVAL,
    ),
    Wrong(
        "ldt: not at a page",
        mmuext(abi.MMUEXT_SET_LDT, arg2={"nr_ents": 1}, linear_addr=BASE + 8),
        EINVAL,
    ),
    Wrong(
        "ldt: the core's",
        mmuext(abi.MMUEXT_SET_LDT, arg2={"nr_ents": 1}, linear_addr=CORE),
        EINVAL,
    ),
    Wrong(
        "ldt: too long",
        mmuext(abi.MMUEXT_SET_LDT, arg2={"nr_ents": 8193}, linear_addr=BASE),
        EINVAL,
    ),
]

DESCRIPTORS = [
    Wrong("gdt: too many", set_gdt([own_frame(DATA)], 7169), EINVAL),
    Wrong("gdt: far too many", (abi.__HYPERVISOR_set_gdt, VA, 100_000), EINVAL),
    Wrong("gdt: list unmapped", (abi.__HYPERVISOR_set_gdt, UNMAPPED, 1), EFAULT),
    Wrong("gdt: a page mapped writable", set_gdt([own_frame(DATA)], 1), EINVAL),
    Wrong("gdt: a page table", set_gdt([own_frame(L1)], 1), EINVAL),
    Wrong("gdt: another's", set_gdt([foreign_frame(DATA)], 1), EINVAL),
    Wrong("gdt: no frame", set_gdt([lambda m: NO_FRAME], 1), EINVAL),
    Wrong(
        "gdt: the second is not the caller's",
        set_gdt([own_frame(12), foreign_frame(DATA)], 513),
        EINVAL,
        first=read_only(12),
    ),
    Wrong(
        "gdt: a call gate to the core",
        set_gdt([own_frame(12)], 1),
        EINVAL,
        first=filled(12, GATE_TO_CORE),
    ),
    Wrong("gdt: a task segment", set_gdt([own_frame(12)], 1), EINVAL, first=filled(12, TASK)),
    Wrong("descriptor: unaligned", change_descriptor(entry(own_frame(DATA), 4), 0), EINVAL),
    Wrong("descriptor: a page table", change_descriptor(entry(own_frame(L1), 0), 0), EINVAL),
    Wrong("descriptor: another's", change_descriptor(entry(foreign_frame(DATA), 0), 0), EINVAL),
    Wrong("descriptor: no frame", change_descriptor(NO_FRAME << 12, 0), EINVAL),
    Wrong(
        "descriptor: a call gate to the core",
        change_descriptor(entry(own_frame(DATA), 0), GATE_TO_CORE),
        EINVAL,
    ),
    Wrong(
        "descriptor: a call gate with parameters",
        change_descriptor(entry(own_frame(DATA), 0), GATE_WITH_PARAMETERS),
        EINVAL,
    ),
    Wrong("descriptor: a task segment", change_descriptor(entry(own_frame(DATA), 0), TASK), EINVAL),
]


@pytest.mark.parametrize("row", [*MAPS, *EXTENDED, *DESCRIPTORS], ids=str)
def test_refused(machine, row):
    check(machine, row)


def test_device_domains_choose_cache_attributes(machine):
    """dom0 has device memory to map, so it may."""
    dom0 = machine.dom0
    value = dom0.pages[20] << 12 | PRESENT | USER | UNCACHED
    assert dom0.call(abi.__HYPERVISOR_update_va_mapping, BASE + 20 * PAGE, value, 0) == 0


def test_the_core_s_slots_are_only_those_of_an_l4(machine):
    """The same slots of other tables are the guest's, and so are an L4's others."""
    for table, offset in ((L2, CORE_SLOT), (L3, CORE_SLOT), (L4, 0)):
        call = update(slot(table, offset)(machine), 0)
        request = guest(machine).put(abi.mmu_update, **call[1].fields)
        assert guest(machine).call(call[0], request, *call[2:]) == 0
