"""platform_op: what domain 0 does to the machine as a whole.

Done: the wall clock, which processors there are, sleep state S5. The firmware answers are those of
a machine whose BIOS left nothing behind. Processor power management stays with the core, which does
none.
"""

import abi
from kpy import Guest, Ptr, i64, ref, require, u32, u64, uninitialized

from kernel.base.guest_memory import copy_from_guest, copy_to_guest
from kernel.base.registry import hypercall
from kernel.console.console import printk
from kernel.sched.time import set_wallclock
from kernel.state.vcpu import Vcpu
from kernel.x86.percpu import cpu_by_id, nr_cpus
from kernel.x86.power import machine_power_off

S5_SOFT_OFF = 5


@hypercall(abi.__HYPERVISOR_platform_op)
def do_platform_op(vcpu: Ptr[Vcpu], arg: u64, b: u64, c: u64, d: u64, e: u64) -> i64:
    """Serve one operation of domain 0.

    Hypercall: platform_op(arg: xen_platform_op, written back where it answers).
    Errors: -EFAULT; -EACCES, another interface version; -EPERM, not dom0; -ENOSYS, not an operation
    of this core.
    """
    op = uninitialized(abi.xen_platform_op)
    here = Guest[abi.xen_platform_op](arg)
    require(copy_from_guest(ref(op), here), -abi.EFAULT)
    require(op.interface_version == abi.XENPF_INTERFACE_VERSION, -abi.EACCES)
    require(vcpu.domain.is_privileged, -abi.EPERM)
    match op.cmd:
        case abi.XENPF_settime32:
            time32 = ref(op.u.settime32)
            return settime(u64(time32.secs), time32.nsecs, time32.system_time)
        case abi.XENPF_settime64:
            time64 = ref(op.u.settime64)
            require(time64.mbz == 0, -abi.EINVAL)
            return settime(time64.secs, time64.nsecs, time64.system_time)
        case abi.XENPF_firmware_info:
            return firmware_info(ref(op), here)
        case abi.XENPF_enter_acpi_sleep:
            return enter_acpi_sleep(ref(op.u.enter_acpi_sleep))
        case abi.XENPF_get_cpuinfo:
            return get_cpuinfo(ref(op), here)
        case _:
            return -abi.ENOSYS


def settime(seconds: u64, nanoseconds: u32, system_time_ns: u64) -> i64:
    """Set the wall clock of every domain: what time it was at a system time."""
    set_wallclock(seconds, nanoseconds, system_time_ns)
    return 0


def firmware_info(op: Ptr[abi.xen_platform_op], here: Guest[abi.xen_platform_op]) -> i64:
    """Tell what the BIOS said at boot: nothing, since a multiboot kernel does not ask it.

    Errors: -ESRCH, no (more) disks, no display data; -ENOSYS, no EFI; -EINVAL, unknown.
    """
    match op.u.firmware_info.type:
        case abi.XEN_FW_DISK_INFO | abi.XEN_FW_DISK_MBR_SIGNATURE | abi.XEN_FW_VBEDDC_INFO:
            return -abi.ESRCH
        case abi.XEN_FW_EFI_INFO:
            return -abi.ENOSYS
        case abi.XEN_FW_KBD_SHIFT_FLAGS:
            require(op.u.firmware_info.index == 0, -abi.ESRCH)
            op.u.firmware_info.u.kbd_shift_flags = 0
            require(copy_to_guest(here, op), -abi.EFAULT)
            return 0
        case _:
            return -abi.EINVAL


def enter_acpi_sleep(sleep: Ptr[abi.xenpf_enter_acpi_sleep]) -> i64:
    """Switch the machine off.

    Errors: -EINVAL, not a sleep state; -EOPNOTSUPP, one that returns (S1 to S4).
    """
    require(sleep.sleep_state <= S5_SOFT_OFF and sleep.sleep_state != 0, -abi.EINVAL)
    require(sleep.sleep_state == S5_SOFT_OFF, -abi.EOPNOTSUPP)
    printk("domain 0 switches the machine off")
    machine_power_off()


def get_cpuinfo(op: Ptr[abi.xen_platform_op], here: Guest[abi.xen_platform_op]) -> i64:
    """Describe a processor: online or not, its APIC. Errors: -EFAULT."""
    info = ref(op.u.pcpu_info)
    number = info.xen_cpuid
    info.max_present = nr_cpus - 1
    if number < nr_cpus:
        info.flags = abi.XEN_PCPU_FLAGS_ONLINE
        info.apic_id = cpu_by_id(number).apic_id
        info.acpi_id = number
    else:
        info.flags = abi.XEN_PCPU_FLAGS_INVALID
    require(copy_to_guest(here, op), -abi.EFAULT)
    return 0
