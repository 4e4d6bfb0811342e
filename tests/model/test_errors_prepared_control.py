"""Refusals about domains, vCPUs and the machine that the tables by hypercall don't reach.

Something must have been done before, or the refusing part is far down.
"""

import abi
import pytest

from tests.model.codes import EFAULT, EINVAL, ENXIO, ESRCH
from tests.model.errors import (
    BENT,
    UNMAPPED,
    In,
    ReadOnly,
    Wrong,
    check,
    expect_unchanged,
    guest,
    own_frame,
    picture,
)
from tests.model.guest import (
    BASE,
    FIRST_DATA_PAGE,
    PAGE,
    PRESENT,
    USER,
    create_guest,
    make,
    try_domctl,
)
from tests.model.prepared import UPDATE_VA, VCPU_OP, dom0, trace, with_rings
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
from tests.model.test_errors_memory import SELF


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


@pytest.mark.parametrize("row", [*CONTROL, *VCPUS], ids=str)
def test_refused(machine, row):
    check(machine, row)


def test_an_nmi_handler_is_the_first_vcpus(machine):
    pair(machine)
    who = guest(machine)
    at = who.put(abi.xennmi_callback, handler_address=BASE)
    call = (abi.__HYPERVISOR_nmi_op, abi.XENNMI_register_callback, at)
    assert who.call(*call, vcpu=1) == EINVAL
    assert who.call(*call, vcpu=0) == 0


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
