"""platform_op: what domain 0 does to the machine as a whole.

Done: the wall clock, which processors there are, sleep state S5. The firmware answers are those of
a machine whose BIOS left nothing behind. Processor power management stays with the core, which does
none.
"""

import abi
from kpy import (
    Array,
    Fn,
    Guest,
    Ptr,
    Result,
    Tainted,
    build_time,
    i64,
    ok,
    ref,
    require,
    stands_before,
    static,
    u32,
    u64,
    uninitialized,
)

from kernel.base.guest_memory import copy_from_guest, copy_to_guest
from kernel.base.registry import hypercall, parameter_types, part_of, register, structure_of
from kernel.console.console import printk
from kernel.control.efi_info import efi_info
from kernel.sched.time import set_wallclock
from kernel.state.vcpu import Vcpu
from kernel.x86.percpu import cpu_by_id, nr_cpus
from kernel.x86.power import machine_power_off

S5_SOFT_OFF = 5
# What ACPI's _PDC says that an operating system can do. Source: Intel Processor Vendor-Specific
# ACPI, 3.
PDC_REVISION = 1
ANY_PROCESSOR = 0xFFFFFFFF
# All but 0x305: P, T and C states by registers that only the core may touch.
PDC_WITHOUT_MSRS = 0x002 | 0x008 | 0x010 | 0x020 | 0x040 | 0x080 | 0x800


NR_OPS = 64

PlatformOperation = Fn[[Ptr[Tainted[abi.xen_platform_op]], Guest[abi.xen_platform_op]], i64]
platform_ops = {}
operations = static(Array[PlatformOperation | None, NR_OPS], platform_ops)


@build_time
def platform_op(number, result=False):
    """Register the handler of `abi.XENPF_*`: it takes its part of `abi.xen_platform_op`, which goes
    back to the guest if there is a result.
    """

    def prepare(handler):
        part = part_of(Tainted[abi.xen_platform_op], structure_of(parameter_types(handler)[0]))

        @stands_before(handler)
        def entry(op: Ptr[Tainted[abi.xen_platform_op]], here: Guest[abi.xen_platform_op]) -> i64:
            ok(handler(part(op)))
            if result:
                require(copy_to_guest(here, op), -abi.EFAULT)
            return 0

        return entry

    return register(platform_ops, "platform operation", number, prepare)


@hypercall(abi.__HYPERVISOR_platform_op)
def do_platform_op(vcpu: Ptr[Vcpu], here: Guest[abi.xen_platform_op]) -> i64:
    """Serve one operation of domain 0.

    Hypercall: platform_op(here: xen_platform_op, written back where it answers).
    Errors: -EFAULT; -EACCES, another interface version; -EPERM, not dom0; -ENOSYS, not an operation
    of this core.
    """
    op = uninitialized(Tainted[abi.xen_platform_op])
    require(copy_from_guest(ref(op), here), -abi.EFAULT)
    require(op.interface_version == abi.XENPF_INTERFACE_VERSION, -abi.EACCES)
    require(vcpu.domain.is_privileged, -abi.EPERM)
    require(op.cmd < NR_OPS, -abi.ENOSYS)
    operation = operations[op.cmd]
    require(operation is not None, -abi.ENOSYS)
    return operation(ref(op), here)


@platform_op(abi.XENPF_settime32)
def settime32(op: Ptr[Tainted[abi.xenpf_settime32]]) -> Result[None]:
    """Set the wall clock of every domain: what time it was at a system time."""
    set_wallclock(u64(op.secs), op.nsecs, op.system_time)


@platform_op(abi.XENPF_settime64)
def settime64(op: Ptr[Tainted[abi.xenpf_settime64]]) -> Result[None]:
    """Set the wall clock of every domain. Errors: -EINVAL, a field that must be 0."""
    require(op.mbz == 0, -abi.EINVAL)
    set_wallclock(op.secs, op.nsecs, op.system_time)


@platform_op(abi.XENPF_firmware_info, result=True)
def firmware_info(op: Ptr[Tainted[abi.xenpf_firmware_info]]) -> i64:
    """Tell what the firmware said at boot: of a BIOS nothing, since a multiboot kernel does not ask
    it.

    Errors: -ESRCH, no (more) disks, no display data; -EINVAL, unknown; those of `efi_info`.
    """
    match op.type:
        case abi.XEN_FW_DISK_INFO | abi.XEN_FW_DISK_MBR_SIGNATURE | abi.XEN_FW_VBEDDC_INFO:
            return -abi.ESRCH
        case abi.XEN_FW_EFI_INFO:
            return efi_info(op.index, ref(op.u.efi_info))
        case abi.XEN_FW_KBD_SHIFT_FLAGS:
            require(op.index == 0, -abi.ESRCH)
            op.u.kbd_shift_flags = 0
            return 0
        case _:
            return -abi.EINVAL


@platform_op(abi.XENPF_enter_acpi_sleep)
def enter_acpi_sleep(sleep: Ptr[Tainted[abi.xenpf_enter_acpi_sleep]]) -> i64:
    """Switch the machine off.

    Errors: -EINVAL, not a sleep state; -EOPNOTSUPP, one that returns (S1 to S4).
    """
    require(sleep.sleep_state <= S5_SOFT_OFF and sleep.sleep_state != 0, -abi.EINVAL)
    require(sleep.sleep_state == S5_SOFT_OFF, -abi.EOPNOTSUPP)
    printk("domain 0 switches the machine off")
    machine_power_off()


@platform_op(abi.XENPF_set_processor_pminfo)
def set_processor_pminfo(info: Ptr[Tainted[abi.xenpf_set_processor_pminfo]]) -> i64:
    """Say what domain 0 may tell the firmware that the system does with a processor's power.

    Args: info, for XEN_PM_PDC u32[3] in the guest: 1, a count, and capabilities, written back.
    Errors: -ENOSYS, states for the core to use, as it uses none; -EINVAL, another type, revision or
    count, or no such processor; -EFAULT.
    """
    match info.type:
        case abi.XEN_PM_CX | abi.XEN_PM_PX | abi.XEN_PM_TX:
            return -abi.ENOSYS
        case abi.XEN_PM_PDC:
            return sanitize_pdc(info.id, info.u.pdc)
        case _:
            return -abi.EINVAL


def sanitize_pdc(acpi_id: Tainted[u32], pdc: Guest[u32]) -> i64:
    """Take from a _PDC buffer what domain 0 cannot do."""
    word = uninitialized(Tainted[u32])
    require(copy_from_guest(ref(word), pdc), -abi.EFAULT)
    require(word == PDC_REVISION, -abi.EINVAL)
    require(copy_from_guest(ref(word), pdc.index(1)), -abi.EFAULT)
    require(word != 0, -abi.EINVAL)
    require(copy_from_guest(ref(word), pdc.index(2)), -abi.EFAULT)
    require(acpi_id == ANY_PROCESSOR or acpi_id < nr_cpus, -abi.EINVAL)
    word &= PDC_WITHOUT_MSRS
    require(copy_to_guest(pdc.index(2), ref(word)), -abi.EFAULT)
    return 0


@platform_op(abi.XENPF_get_cpuinfo, result=True)
def get_cpuinfo(info: Ptr[Tainted[abi.xenpf_pcpuinfo]]) -> Result[None]:
    """Describe a processor: online or not, its APIC."""
    number = info.xen_cpuid
    info.max_present = nr_cpus - 1
    if number < nr_cpus:
        info.flags = abi.XEN_PCPU_FLAGS_ONLINE
        info.apic_id = cpu_by_id(number).apic_id
        info.acpi_id = number
    else:
        info.flags = abi.XEN_PCPU_FLAGS_INVALID
