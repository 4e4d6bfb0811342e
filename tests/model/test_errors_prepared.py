"""Refusals that the tables by hypercall don't reach with one call: something must have been done
before, or the refusing part is far down.
"""

import abi
import pytest

from kernel.frames.frame import MOST_REFERENCES
from tests.model import invariants
from tests.model.codes import EBUSY, EFAULT, EINVAL, ENODEV, ENOSYS, ENXIO, EPERM, ESRCH
from tests.model.errors import (
    CORE,
    UNMAPPED,
    In,
    ReadOnly,
    Wrong,
    check,
    expect_unchanged,
    foreign_frame,
    guest,
    other,
    own_frame,
    picture,
)
from tests.model.guest import (
    BASE,
    FIRST_DATA_PAGE,
    PAGE,
    PRESENT,
    USER,
    WRITE,
    create_guest,
    make,
    try_domctl,
)
from tests.model.memory import FIRST
from tests.model.test_errors_domctl import (
    HARD,
    LIST,
    MAP_OF_CPU_0,
    SOFT,
    affinity,
    control,
    create,
    get_affinity,
    mask,
    question,
    set_context,
    unstarted,
)
from tests.model.test_errors_grant import DEVICE, GRANTED, HOST, grants, mapped, one
from tests.model.test_errors_grant import FREE_VA as GRANT_VA
from tests.model.test_errors_memory import (
    LATER,
    SELF,
    acquire,
    exchange,
    increase,
    listed,
    op,
    with_map,
)
from tests.model.test_errors_memory import LIST as FRAMES
from tests.model.test_errors_mmu import IO, L1, XEN, given_up, map_va, mmuext, slot, update
from tests.model.test_errors_physdev import map_pirq
from tests.model.test_errors_physdev import op as physdev

BENT = 1 << 47
UPDATE_VA, MULTICALL = abi.__HYPERVISOR_update_va_mapping, abi.__HYPERVISOR_multicall
VCPU_OP, EVENT_OP = abi.__HYPERVISOR_vcpu_op, abi.__HYPERVISOR_event_channel_op
GRANT_OP, PHYSDEV_OP = abi.__HYPERVISOR_grant_table_op, abi.__HYPERVISOR_physdev_op
REFERENCES = (1 << 28) - 1
DATA = BASE + FIRST_DATA_PAGE * PAGE


def dom0(why, call, error, first=None, leaves_trace=False):
    return Wrong(why, call, error, "dom0", first, leaves_trace)


def without_vcpus(machine):
    """Let there be a domain 3 that may have vCPUs, and has none yet."""
    command, call = abi.XEN_DOMCTL_createdomain, create()
    assert try_domctl(machine.dom0, command, 0, **call[1].fields["u"])[0] == 0


def read_only_mask(machine):
    """Let dom0's list begin with processor 0, on a page that it cannot write to."""
    mask(1)(machine)
    entry = machine.dom0.pages[FIRST_DATA_PAGE] << 12 | PRESENT | USER
    assert machine.dom0.call(UPDATE_VA, LIST, entry, abi.UVMF_INVLPG) == 0


def typed(machine):
    """Let somebody have typed a letter that nobody has read yet."""
    machine["kernel.console.input.input_written"].value += 1


def printed(machine):
    machine["kernel.console.console.ring_written"].value += 10


def trace(cmd, **fields):
    return question(abi.XEN_SYSCTL_tbuf_op, tbuf_op={"cmd": cmd} | fields)


def with_rings(machine):
    call = trace(abi.XEN_SYSCTL_TBUFOP_set_size, size=1)
    assert machine.dom0.call(call[0], machine.dom0.put(call[1].type, **call[1].fields)) == 0


def ring_frame(machine):
    """Return a frame of the trace rings: DOMID_XEN's."""
    at = machine["kernel.control.trace_buffer.t_info"].value
    return (at - machine.memory.frames) // PAGE + FIRST


def memory_of(domain):
    fields = {"gva": BASE, "uva": LIST, "len": 8}
    return control(abi.XEN_DOMCTL_gdbsx_guestmemio, domain, gdbsx_guest_memio=fields)


CONTROL = [
    Wrong(
        "features: read-only",
        (
            abi.__HYPERVISOR_xen_version,
            abi.XENVER_get_features,
            ReadOnly(abi.xen_feature_info),
        ),
        EFAULT,
        leaves_trace=True,
    ),
    dom0(
        "console: nowhere to read to",
        (abi.__HYPERVISOR_console_io, abi.CONSOLEIO_read, 8, UNMAPPED),
        EFAULT,
        typed,
    ),
    dom0(
        "console ring: nowhere to copy to",
        question(abi.XEN_SYSCTL_readconsole, readconsole={"buffer": UNMAPPED, "count": 8}),
        EFAULT,
        printed,
    ),
    dom0("create: unknown flags of x86", create(arch={"misc_flags": 1 << 31}), EINVAL),
    dom0("memory: no vCPU", memory_of(3), EINVAL, without_vcpus),
    dom0("memory: no page tables", memory_of(3), EFAULT, unstarted, True),
    dom0(
        "vcpu info: none yet",
        control(abi.XEN_DOMCTL_getvcpuinfo, 3, getvcpuinfo={"vcpu": 0}),
        ESRCH,
        without_vcpus,
    ),
    *(
        dom0(
            f"affinity {command}: no vCPU yet",
            control(command, 3, vcpuaffinity={"flags": HARD, "cpumap_hard": MAP_OF_CPU_0}),
            ESRCH,
            without_vcpus,
        )
        for command in (abi.XEN_DOMCTL_setvcpuaffinity, abi.XEN_DOMCTL_getvcpuaffinity)
    ),
    dom0(
        "affinity: a map that is read-only",
        affinity(flags=HARD, cpumap_hard=MAP_OF_CPU_0),
        EFAULT,
        read_only_mask,
        True,
    ),
    dom0(
        "affinity: a soft map that is read-only",
        affinity(flags=SOFT, cpumap_soft=MAP_OF_CPU_0),
        EFAULT,
        read_only_mask,
        True,
    ),
    dom0(
        "affinity: no CPU that runs is best",
        affinity(flags=SOFT, cpumap_soft=MAP_OF_CPU_0),
        EINVAL,
        mask(1 << 40),
    ),
    dom0("get affinity: neither", get_affinity(vcpu=0), EINVAL),
    dom0("trace: no size", trace(abi.XEN_SYSCTL_TBUFOP_set_size, size=0), EINVAL),
    dom0("trace: another size", trace(abi.XEN_SYSCTL_TBUFOP_set_size, size=2), EINVAL, with_rings),
    dom0("trace: no rings", trace(abi.XEN_SYSCTL_TBUFOP_enable), EINVAL),
    dom0(
        "trace: a mask of processors that is unmapped",
        trace(abi.XEN_SYSCTL_TBUFOP_set_cpu_mask, cpu_mask={"bitmap": UNMAPPED, "nr_bits": 64}),
        EFAULT,
    ),
]


# vCPUs of the caller


def pair(machine):
    """Let the caller have two vCPUs that run."""
    machine.guests[0] = create_guest(machine, nr_vcpus=2)


def half_started(machine):
    """Let the caller's second vCPU have no registers."""
    machine.guests[0] = create_guest(machine, nr_vcpus=2, initialised=1)


def vcpu_info(vcpu, offset=0):
    fields = {"mfn": own_frame(FIRST_DATA_PAGE), "offset": offset}
    return (
        VCPU_OP,
        abi.VCPUOP_register_vcpu_info,
        vcpu,
        In(abi.vcpu_register_vcpu_info, fields),
    )


def base(which):
    return (abi.__HYPERVISOR_set_segment_base, which, BENT)


VCPUS = [
    Wrong("vcpu_info: not aligned", vcpu_info(0, 4), ENXIO),
    Wrong("vcpu_info: of one that runs", vcpu_info(1), EINVAL, first=pair),
    Wrong("up: no registers", (VCPU_OP, abi.VCPUOP_up, 1), EINVAL, first=half_started),
    *(
        Wrong(f"segment base {which}: not canonical", base(which), EINVAL)
        for which in (abi.SEGBASE_FS, abi.SEGBASE_GS_USER, abi.SEGBASE_GS_KERNEL)
    ),
]


# Memory


def unmapped(*numbers):
    """Let the caller have unmapped some of its pages."""

    def do(machine):
        for number in numbers:
            call = (UPDATE_VA, BASE + number * PAGE, 0, abi.UVMF_INVLPG)
            assert guest(machine).call(*call) == 0

    return do


def page_for_reading(machine):
    """Let the caller have unmapped page 20, and page 15 be a list that it cannot write to."""
    unmapped(20)(machine)
    entry = guest(machine).pages[15] << 12 | PRESENT | USER
    assert guest(machine).call(UPDATE_VA, BASE + 15 * PAGE, entry, abi.UVMF_INVLPG) == 0


OWN = listed(own_frame(20))

MEMORY = [
    Wrong(
        "exchange: of too large", exchange((FRAMES, 1, 10, SELF), (FRAMES, 1024, 0, SELF)), EPERM
    ),
    Wrong(
        "exchange: for another domain",
        exchange((OWN, 1, 0, SELF), (FRAMES, 1, 0, 2)),
        EINVAL,
        first=unmapped(20),
    ),
    Wrong(
        "exchange: one for two",
        exchange((OWN, 1, 0, SELF), (FRAMES, 2, 0, SELF)),
        EINVAL,
        first=unmapped(20),
    ),
    Wrong(
        "exchange: nowhere to tell the new frame",
        exchange((OWN, 1, 0, SELF), (UNMAPPED, 1, 0, SELF)),
        EFAULT,
        first=unmapped(20),
        leaves_trace=True,
    ),
    Wrong(
        "exchange: a list that is read-only for the new frame",
        exchange((OWN, 1, 0, SELF), (BASE + 15 * PAGE, 1, 0, SELF)),
        EFAULT,
        first=page_for_reading,
        leaves_trace=True,
    ),
    Wrong(
        "exchange: nowhere to tell the progress",
        (
            abi.__HYPERVISOR_memory_op,
            abi.XENMEM_exchange,
            ReadOnly(
                abi.xen_memory_exchange,
                {"in_": {"domid": SELF}, "out": {"domid": SELF}},
            ),
        ),
        EFAULT,
        leaves_trace=True,
    ),
    Wrong(
        "exchange: lists longer than memory",
        exchange((FRAMES, 1 << 62, 0, SELF), (FRAMES, 1 << 62, 0, SELF)),
        EFAULT,
    ),
    *(
        Wrong(
            f"memory {command}: read-only",
            (abi.__HYPERVISOR_memory_op, command, ReadOnly(type_, fields)),
            EFAULT,
            by,
            first,
            leaves_trace=True,
        )
        for command, type_, fields, by, first in (
            (abi.XENMEM_machine_memory_map, abi.xen_memory_map, {}, "dom0", None),
            (
                abi.XENMEM_memory_map,
                abi.xen_memory_map,
                {"nr_entries": 9, "buffer": LIST},
                "guest",
                with_map,
            ),
            (abi.XENMEM_machphys_mfn_list, abi.xen_machphys_mfn_list, {}, "guest", None),
            (
                abi.XENMEM_acquire_resource,
                abi.xen_mem_acquire_resource,
                {"domid": 1, "type": abi.XENMEM_resource_grant_table},
                "dom0",
                None,
            ),
        )
    ),
    Wrong("increase: within 1 MiB", increase(mem_flags=20), 0),
    Wrong("acquire: status frames", acquire(id=1, nr_frames=1, frame_list=LIST), EINVAL, "dom0"),
    Wrong(
        "acquire: the size, from the middle",
        op(
            abi.XENMEM_acquire_resource | LATER,
            abi.xen_mem_acquire_resource,
            domid=1,
            type=abi.XENMEM_resource_grant_table,
        ),
        EINVAL,
        "dom0",
    ),
]


# Page tables


def many_references(machine, left=0, whose=guest):
    """Let a page be referenced as often as it can be, but for `left`."""
    frame = machine.frame(whose(machine).pages[FIRST_DATA_PAGE])
    frame.info = frame.info & ~REFERENCES | (MOST_REFERENCES - left)


def with_core_tables(machine):
    """Let the core have mapped something in its own slots, as on the machine."""
    l3, l2, l1 = (FIRST + n for n in (262 - 255, 17, 18))
    machine.memory.page(l3)[0] = l2 << 12 | 0x63
    machine.memory.page(l2)[0] = l1 << 12 | 0x63
    machine.memory.page(l1)[0] = FIRST << 12 | 0x63


def of_io(cmd, at=None):
    if at:
        return (abi.__HYPERVISOR_mmuext_op, at, 1, 0, IO)
    return mmuext(cmd, IO)


TABLES = [
    Wrong(
        "L1: no more references",
        update(slot(L1, 8 * 400), lambda m: own_frame(FIRST_DATA_PAGE)(m) << 12 | 5),
        EBUSY,
        first=many_references,
    ),
    Wrong(
        "L1: no more references to write by",
        update(slot(L1, 8 * 400), lambda m: own_frame(FIRST_DATA_PAGE)(m) << 12 | 7),
        EBUSY,
        first=many_references,
    ),
    dom0(
        "L1: a free frame, which was its own",
        update(lambda m: (m.dom0.pages[L1] << 12) + 8 * 400, lambda m: m.free_frame << 12 | 7),
        EBUSY,
        given_up,
    ),
    Wrong("va: no L1", map_va(BASE + (1 << 21), 0), EINVAL),
    Wrong("va: in the core's tables", map_va(CORE, 0), EINVAL, first=with_core_tables),
    Wrong(
        "va: processors that cannot be read",
        map_va(DATA, 0, UNMAPPED | abi.UVMF_TLB_FLUSH),
        EFAULT,
        leaves_trace=True,
    ),
    dom0(
        "L1: another's frame as one's own",
        update(
            lambda m: (m.dom0.pages[L1] << 12) + 8 * 400,
            lambda m: foreign_frame(FIRST_DATA_PAGE)(m) << 12 | 5,
        ),
        EBUSY,
    ),
    dom0(
        "L1: domain 0's frame as an unprivileged domain's",
        update(
            lambda m: (guest(m).pages[L1] << 12) + 8 * 400,
            lambda m: m.dom0.pages[FIRST_DATA_PAGE] << 12 | 5,
            2 | 1 + 1 << 16,
        ),
        EBUSY,
    ),
    dom0(
        "L1: the core's frame, handed on by domain 0",
        update(
            lambda m: (guest(m).pages[L1] << 12) + 8 * 400,
            lambda m: ring_frame(m) << 12 | 5,
            SELF | 1 + 1 << 16,
        ),
        EBUSY,
        with_rings,
    ),
    dom0(
        "console: from the core",
        (abi.__HYPERVISOR_console_io, abi.CONSOLEIO_write, 8, CORE),
        EFAULT,
        with_core_tables,
    ),
    dom0(
        "memory: to the core",
        control(
            abi.XEN_DOMCTL_gdbsx_guestmemio,
            gdbsx_guest_memio={"gva": BASE, "uva": CORE, "len": 8},
        ),
        EFAULT,
        with_core_tables,
        True,
    ),
    dom0("ext of I/O: unmapped", of_io(0, UNMAPPED), EFAULT),
    dom0("ext of I/O: no such operation", of_io(99), ENOSYS),
    dom0("ext of I/O: the unused one", of_io(14), ENOSYS),
    dom0(
        "L1: another's frame as the core's",
        update(
            lambda m: (m.dom0.pages[L1] << 12) + 8 * 400,
            lambda m: foreign_frame(FIRST_DATA_PAGE)(m) << 12 | 5,
            XEN,
        ),
        EBUSY,
    ),
]


# Grants


def read_only(command, type_, **fields):
    return (GRANT_OP, command, ReadOnly(type_, fields), 1)


def no_device_reference(machine):
    """The granted page takes one reference more, not two."""
    grants(machine)
    many_references(machine, 1, other)


SETUPS = {  # operations on one structure that says how it went
    abi.GNTTABOP_setup_table: abi.gnttab_setup_table,
    abi.GNTTABOP_query_size: abi.gnttab_query_size,
    abi.GNTTABOP_get_version: abi.gnttab_get_version,
    abi.GNTTABOP_set_version: abi.gnttab_set_version,
    abi.GNTTABOP_get_status_frames: abi.gnttab_get_status_frames,
}

ANSWERED = {"version": 1, "dom": SELF}

GRANTS = [
    *(
        Wrong(
            f"{type_.name}: read-only",
            read_only(command, type_, **{n: v for n, v in ANSWERED.items() if n in type_.fields}),
            EFAULT,
            leaves_trace=True,
        )
        for command, type_ in SETUPS.items()
    ),
    Wrong(
        "swap: read-only",
        read_only(abi.GNTTABOP_swap_grant_ref, abi.gnttab_swap_grant_ref, ref_a=9, ref_b=9),
        EFAULT,
        leaves_trace=True,
    ),
    Wrong(
        "unmap: read-only",
        read_only(abi.GNTTABOP_unmap_grant_ref, abi.gnttab_unmap_grant_ref, handle=77),
        EFAULT,
        leaves_trace=True,
    ),
    Wrong(
        "unmap and replace: read-only",
        read_only(abi.GNTTABOP_unmap_and_replace, abi.gnttab_unmap_and_replace, handle=77),
        EFAULT,
        leaves_trace=True,
    ),
]


# Interrupts


def all_reserved(machine):
    """Let dom0 have set a pirq aside."""
    at = machine.dom0.put(abi.physdev_get_free_pirq, type=abi.MAP_PIRQ_TYPE_MSI)
    assert machine.dom0.call(PHYSDEV_OP, abi.PHYSDEVOP_get_free_pirq, at) == 0
    machine.reserved = machine.dom0.get(abi.physdev_get_free_pirq, at).pirq


def with_device(machine):
    """Let a device answer at every address, one without capabilities."""
    machine["tests.model.processors.bus_answer"].value = 0x8086


INTERRUPTS = [
    Wrong(
        "eoi: of dom0's",
        physdev(abi.PHYSDEVOP_eoi, abi.physdev_eoi, irq=lambda m: m.reserved),
        EINVAL,
        first=all_reserved,
    ),
    dom0("eoi: not mapped", physdev(abi.PHYSDEVOP_eoi, abi.physdev_eoi, irq=200), EINVAL),
    dom0("map_pirq: no such wire, by dom0's number", map_pirq(0, index=5000), EINVAL),
    *(
        Wrong(
            f"{type_.name} {command}: another segment, {who}",
            physdev(command, type_, seg=1),
            error,
            who,
            with_device,
        )
        for command, type_ in (
            (abi.PHYSDEVOP_pci_device_add, abi.physdev_pci_device_add),
            (abi.PHYSDEVOP_pci_device_remove, abi.physdev_pci_device),
        )
        for who, error in (("dom0", ENODEV), ("guest", EPERM))
    ),
    dom0(
        "prepare_msix: a device that has none",
        physdev(abi.PHYSDEVOP_prepare_msix, abi.physdev_pci_device),
        ENODEV,
        with_device,
    ),
    dom0(
        "map_pirq: a device without messages",
        map_pirq(type_=abi.MAP_PIRQ_TYPE_MSI, index=-1),
        ENODEV,
        with_device,
    ),
    dom0(
        "device_remove: nothing there",
        physdev(abi.PHYSDEVOP_pci_device_remove, abi.physdev_pci_device),
        ENODEV,
    ),
]


ALL = [*CONTROL, *VCPUS, *MEMORY, *TABLES, *GRANTS, *INTERRUPTS]


@pytest.mark.parametrize("row", ALL, ids=str)
def test_refused(machine, row):
    check(machine, row)


def test_a_device_mapping_without_a_reference_is_none(machine):
    """The first reference, for the page table, goes back too."""
    no_device_reference(machine)
    call = one(
        abi.GNTTABOP_map_grant_ref,
        abi.gnttab_map_grant_ref,
        ref=GRANTED,
        dom=2,
        flags=HOST | DEVICE,
        host_addr=GRANT_VA,
    )
    who = guest(machine)
    at = who.put(call[2].type, **call[2].fields)
    before = picture(machine)
    assert who.call(call[0], call[1], at, 1) == 0
    assert who.get(abi.gnttab_map_grant_ref, at).status != abi.GNTST_okay
    expect_unchanged(machine, before)


def test_a_granted_page_stays_as_it_was_granted(machine):
    """Mapped for reading by hand: another entry cannot make it writable."""
    mapped(HOST | abi.GNTMAP_readonly)(machine)
    who = guest(machine)
    entry = other(machine).pages[FIRST_DATA_PAGE] << 12 | PRESENT | USER | WRITE
    assert who.call(UPDATE_VA, GRANT_VA, entry, abi.UVMF_INVLPG) == EBUSY
    invariants.check(machine)


def test_domain_0_hands_its_right_on(machine):
    """It maps its neighbour's page into the caller's memory, but nothing of the core's."""
    caller, neighbour = guest(machine), other(machine)
    entry = (caller.pages[L1] << 12) + 8 * 400
    by_dom0 = SELF | caller.id + 1 << 16  # tables of the caller, frames as domain 0's
    mfn = neighbour.pages[FIRST_DATA_PAGE]
    for frame, result in {mfn: 0, FIRST + 1: EBUSY}.items():
        call = update(entry, frame << 12 | PRESENT | USER, by_dom0)
        at = machine.dom0.put(abi.mmu_update, **call[1].fields)
        assert machine.dom0.call(call[0], at, *call[2:]) == result
    invariants.check(machine, {(caller.id, mfn)})


def test_an_nmi_handler_is_the_first_vcpus(machine):
    pair(machine)
    who = guest(machine)
    at = who.put(abi.xennmi_callback, handler_address=BASE)
    call = (abi.__HYPERVISOR_nmi_op, abi.XENNMI_register_callback, at)
    assert who.call(*call, vcpu=1) == EINVAL
    assert who.call(*call, vcpu=0) == 0


def test_frames_need_no_list(machine):
    """XENMEM_increase_reservation tells the frames only if it is told where."""
    guest(machine).domain.max_pages += 1
    fields = {"nr_extents": 1, "domid": SELF, "extent_start": 0}
    at = guest(machine).put(abi.xen_memory_reservation, **fields)
    call = (abi.__HYPERVISOR_memory_op, abi.XENMEM_increase_reservation, at)
    assert guest(machine).call(*call) == 1


def at_end_of_memory(machine, data):
    """Put bytes in front of a page that is not mapped; return where."""
    unmapped(22)(machine)
    at = BASE + 22 * PAGE - len(data)
    guest(machine).write(at, data)
    return at


def test_a_list_that_ends_early_is_done_up_to_there(machine):
    """What could not be read is not what was read before."""
    bind = guest(machine).put(abi.evtchn_bind_ipi, vcpu=0)
    entry = make(abi.multicall_entry, op=EVENT_OP)
    entry.args[0], entry.args[1] = abi.EVTCHNOP_bind_ipi, bind
    at = at_end_of_memory(machine, bytes(entry))
    before = guest(machine).domain.evtchn.nr_active
    assert guest(machine).call(MULTICALL, at, 2) == EFAULT
    assert guest(machine).domain.evtchn.nr_active == before + 1


def test_a_list_that_cannot_take_its_progress(machine):
    """An entry that stops half way is written back; where that fails the list ends."""
    who = guest(machine)
    flush = bytes(make(abi.mmuext_op, cmd=abi.MMUEXT_TLB_FLUSH_LOCAL))
    entry = make(abi.multicall_entry, op=abi.__HYPERVISOR_mmuext_op)
    entry.args[0], entry.args[1], entry.args[3] = who.put(flush * 3), 3, SELF
    who.write(DATA, bytes(entry))
    value = who.pages[FIRST_DATA_PAGE] << 12 | PRESENT | USER
    assert who.call(UPDATE_VA, DATA, value, abi.UVMF_INVLPG) == 0
    repeats = machine["tests.model.processors.nr_repeats"]
    before = repeats.value
    machine.preempt((1 << 64) - 1)
    assert who.call(MULTICALL, DATA, 1) == EFAULT
    assert repeats.value == before, "it does not begin again for ever"


def test_device_memory_is_made_writable_and_read_only_again(machine):
    """The entry changes in one bit, but there is no frame to count."""
    machine["kernel.x86.features.max_physical_bits"].value = 46
    at = BASE + 25 * PAGE
    for flags in (5, 7, 5):
        call = (UPDATE_VA, at, 0xFED00 << 12 | flags, abi.UVMF_INVLPG)
        assert machine.dom0.call(*call) == 0
        assert machine.memory.page(machine.dom0.pages[L1])[25] & 7 == flags


def with_descriptors(machine):
    """Let the caller have a GDT and an LDT, on pages that nobody can write to."""
    who = guest(machine)
    for number in (18, 19):
        entry = who.pages[number] << 12 | PRESENT | USER
        assert who.call(UPDATE_VA, BASE + number * PAGE, entry, abi.UVMF_INVLPG) == 0
    assert who.call(abi.__HYPERVISOR_set_gdt, who.put([who.pages[18]]), 8) == 0
    fields = {"cmd": abi.MMUEXT_SET_LDT, "arg1": {"linear_addr": BASE + 19 * PAGE}}
    at = who.put(abi.mmuext_op, arg2={"nr_ents": 8}, **fields)
    assert who.call(abi.__HYPERVISOR_mmuext_op, at, 1, 0, SELF) == 0


def test_descriptor_tables_of_a_started_vcpu_stay(machine):
    """Its context may be given again, but not with another GDT or LDT."""
    with_descriptors(machine)
    same = set_context()
    others = [
        set_context(gdt_frames={0: guest(machine).pages[19]}),
        set_context(ldt_base=BASE + 18 * PAGE),
    ]
    check(machine, dom0("the same", same, 0))
    for other_tables in others:
        check(machine, dom0("others", other_tables, -abi.EOPNOTSUPP))


@pytest.mark.parametrize("number", [FIRST_DATA_PAGE, 3])
def test_a_vcpu_starts_with_no_descriptor_table_that_is_none(machine, number):
    """A page that is writable, or a page table: nothing of the context is installed."""
    half_started(machine)
    context = make(abi.vcpu_guest_context, flags=abi.VGCF_in_kernel, gdt_ents=8)
    context.ctrlreg[3] = guest(machine).pages[0] << 12
    context.gdt_frames[0] = guest(machine).pages[number]
    before = picture(machine)
    fields = {"vcpu": 1, "ctxt": machine.dom0.put(bytes(context))}
    command, domain_id = abi.XEN_DOMCTL_setvcpucontext, guest(machine).id
    assert try_domctl(machine.dom0, command, domain_id, vcpucontext=fields)[0] == EINVAL
    expect_unchanged(machine, before)
    assert not guest(machine).vcpu(1).initialised


def free_pirqs(machine):
    return [pirq.kind for pirq in machine["kernel.irq.irq.pirqs"]]


def test_a_request_that_cannot_be_read_is_not_the_one_before(machine):
    """A pirq is set aside; then the same by an address where nothing is."""
    call = (PHYSDEV_OP, abi.PHYSDEVOP_get_free_pirq)
    at = machine.dom0.put(abi.physdev_get_free_pirq, type=abi.MAP_PIRQ_TYPE_MSI)
    assert machine.dom0.call(*call, at) == 0
    before = free_pirqs(machine)
    assert machine.dom0.call(*call, UNMAPPED) == EFAULT
    assert free_pirqs(machine) == before


def test_an_unmap_that_cannot_be_read_is_not_the_one_before(machine):
    """A grant is unmapped, and mapped again; then unmapped by an address where nothing is."""
    mapped()(machine)
    who = guest(machine)
    for command, type_ in (
        (abi.GNTTABOP_unmap_grant_ref, abi.gnttab_unmap_grant_ref),
        (abi.GNTTABOP_unmap_and_replace, abi.gnttab_unmap_and_replace),
    ):
        at = who.put(type_, host_addr=GRANT_VA, handle=0)
        assert who.call(GRANT_OP, command, at, 1) == 0
        assert who.get(type_, at).status == abi.GNTST_okay
        mapped()(machine)
        before = picture(machine)
        assert who.call(GRANT_OP, command, UNMAPPED, 1) == EFAULT
        expect_unchanged(machine, before)


def test_a_list_of_grants_that_ends_early_is_done_up_to_there(machine):
    """Two entries change places once, not twice."""
    grants(machine)
    who = guest(machine)
    entries = who.domain.grant.shared[0].entries
    entries[9].frame, entries[10].frame = 77, 78
    swap = bytes(make(abi.gnttab_swap_grant_ref, ref_a=9, ref_b=10))
    at = at_end_of_memory(machine, swap)
    assert who.call(GRANT_OP, abi.GNTTABOP_swap_grant_ref, at, 2) == EFAULT
    assert (entries[9].frame, entries[10].frame) == (78, 77)


def test_lists_are_not_written_by_a_request_that_cannot_be_read(machine):
    """What is asked for by an address where nothing is goes nowhere."""
    who = guest(machine)
    fields = {"dom": SELF, "nr_frames": 1, "frame_list": DATA}
    at = who.put(abi.gnttab_setup_table, **fields)
    assert who.call(GRANT_OP, abi.GNTTABOP_setup_table, at, 1) == 0
    assert who.words(DATA, 1) != [0]
    who.write(DATA, bytes(8))
    assert who.call(GRANT_OP, abi.GNTTABOP_setup_table, UNMAPPED, 1) == EFAULT
    assert who.words(DATA, 1) == [0]


def test_a_frame_that_cannot_be_read_is_not_the_one_before(machine):
    """The list of frames to give up ends with one, which the caller gets again."""
    unmapped(20)(machine)
    who = guest(machine)
    frame = who.pages[20].to_bytes(8, "little")
    at = at_end_of_memory(machine, frame)
    request = {"extent_start": at, "nr_extents": 2, "domid": SELF}
    op_at = who.put(abi.xen_memory_reservation, **request)
    number, command = abi.__HYPERVISOR_memory_op, abi.XENMEM_decrease_reservation
    assert who.call(number, command, op_at) == 1
    expected = who.domain.tot_pages
    request["extent_start"] = UNMAPPED
    op_at = who.put(abi.xen_memory_reservation, **request)
    assert who.call(number, command, op_at) == 0
    assert who.domain.tot_pages == expected


@pytest.mark.parametrize("number", [VCPU_OP, EVENT_OP, PHYSDEV_OP, abi.__HYPERVISOR_memory_op])
def test_every_command_is_served_or_refused(machine, number):
    """Also those in the middle of the table that nobody serves."""
    for command in set(range(64)) - {abi.VCPUOP_down if number == VCPU_OP else None}:
        arguments = (command, 0, UNMAPPED) if number == VCPU_OP else (command, UNMAPPED)
        assert -4096 < guest(machine).call(number, *arguments) < 1 << 40
