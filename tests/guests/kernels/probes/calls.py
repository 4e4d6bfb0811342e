"""Everything else: what only domain 0 may do, wrong commands, wild addresses."""

import abi
from kpy import Array, Guest, i64, ref, static, truncate, u8, u32, u64

from libos.hypercall import hypercall
from tests.guests.kernels.probes.ground import CORE_ADDRESS, WILD_ADDRESS
from tests.guests.kernels.probes.registry import Probes

BAD_COMMAND = 77
NO_VCPU = 77
NONCANONICAL = 1 << 62
TOO_MANY_PORTS = 1000

probes = Probes()
buffer = static(Array[u8, 4096])
poll = static(abi.sched_poll)
calls = static(Array[abi.multicall_entry, 2])


def call(number: u64, command: u64) -> i64:
    """Make a hypercall with a command and a zeroed structure."""
    return hypercall(number, command, u64(ref(buffer)), 0, 0, 0)


@probes.probe
def missing_hypercall() -> i64:
    return hypercall(63, 0, 0, 0, 0, 0)


@probes.probe
def control_domains() -> i64:
    return hypercall(abi.__HYPERVISOR_domctl, u64(ref(buffer)), 0, 0, 0, 0)


@probes.probe
def control_the_machine() -> i64:
    return hypercall(abi.__HYPERVISOR_sysctl, u64(ref(buffer)), 0, 0, 0, 0)


@probes.probe
def control_the_platform() -> i64:
    return hypercall(abi.__HYPERVISOR_platform_op, u64(ref(buffer)), 0, 0, 0, 0)


@probes.probe
def version_bad_command() -> i64:
    return call(abi.__HYPERVISOR_xen_version, BAD_COMMAND)


@probes.probe
def version_to_wild_address() -> i64:
    return hypercall(abi.__HYPERVISOR_xen_version, abi.XENVER_extraversion, WILD_ADDRESS, 0, 0, 0)


@probes.probe
def version_to_the_core() -> i64:
    return hypercall(abi.__HYPERVISOR_xen_version, abi.XENVER_extraversion, CORE_ADDRESS, 0, 0, 0)


@probes.probe
def traps_at_wild_address() -> i64:
    return hypercall(abi.__HYPERVISOR_set_trap_table, WILD_ADDRESS, 0, 0, 0, 0)


@probes.probe
def schedule_bad_command() -> i64:
    return call(abi.__HYPERVISOR_sched_op, BAD_COMMAND)


@probes.probe
def shut_missing_domain_down() -> i64:
    request = abi.sched_remote_shutdown(domain_id=0x1234, reason=abi.SHUTDOWN_crash)
    return hypercall(
        abi.__HYPERVISOR_sched_op, abi.SCHEDOP_remote_shutdown, u64(ref(request)), 0, 0, 0
    )


@probes.probe
def poll_too_many_ports() -> i64:
    poll.nr_ports = TOO_MANY_PORTS
    return hypercall(abi.__HYPERVISOR_sched_op, abi.SCHEDOP_poll, u64(ref(poll)), 0, 0, 0)


@probes.probe
def poll_wild_ports() -> i64:
    poll.nr_ports = 1
    poll.ports = Guest[u32](WILD_ADDRESS)
    return hypercall(abi.__HYPERVISOR_sched_op, abi.SCHEDOP_poll, u64(ref(poll)), 0, 0, 0)


@probes.probe
def vcpu_that_is_not() -> i64:
    return hypercall(abi.__HYPERVISOR_vcpu_op, abi.VCPUOP_up, NO_VCPU, 0, 0, 0)


@probes.probe
def vcpu_bad_command() -> i64:
    return hypercall(abi.__HYPERVISOR_vcpu_op, BAD_COMMAND, 0, u64(ref(buffer)), 0, 0)


@probes.probe
def vcpu_info_in_missing_frame() -> i64:
    info = abi.vcpu_register_vcpu_info(mfn=1 << 36, offset=0)
    return hypercall(
        abi.__HYPERVISOR_vcpu_op, abi.VCPUOP_register_vcpu_info, 0, u64(ref(info)), 0, 0
    )


@probes.probe
def segment_base_noncanonical() -> i64:
    return hypercall(abi.__HYPERVISOR_set_segment_base, abi.SEGBASE_FS, NONCANONICAL, 0, 0, 0)


@probes.probe
def segment_base_bad_command() -> i64:
    return hypercall(abi.__HYPERVISOR_set_segment_base, BAD_COMMAND, 0, 0, 0, 0)


@probes.probe
def breakpoint_in_the_core() -> i64:
    return hypercall(abi.__HYPERVISOR_set_debugreg, 0, CORE_ADDRESS, 0, 0, 0)


@probes.probe
def debug_register_4() -> i64:
    return hypercall(abi.__HYPERVISOR_set_debugreg, 4, 0, 0, 0, 0)


@probes.probe
def debug_control_reserved() -> i64:
    return hypercall(abi.__HYPERVISOR_set_debugreg, 7, 1 << 40, 0, 0, 0)


@probes.probe
def callback_bad_command() -> i64:
    return call(abi.__HYPERVISOR_callback_op, BAD_COMMAND)


@probes.probe
def callback_bad_type() -> i64:
    entry = abi.callback_register(type=BAD_COMMAND, address=0)
    return hypercall(
        abi.__HYPERVISOR_callback_op, abi.CALLBACKOP_register, u64(ref(entry)), 0, 0, 0
    )


@probes.probe
def callback_noncanonical() -> i64:
    entry = abi.callback_register(type=abi.CALLBACKTYPE_syscall, address=NONCANONICAL)
    return hypercall(
        abi.__HYPERVISOR_callback_op, abi.CALLBACKOP_register, u64(ref(entry)), 0, 0, 0
    )


@probes.probe
def assist_bad_type() -> i64:
    return hypercall(abi.__HYPERVISOR_vm_assist, abi.VMASST_CMD_enable, BAD_COMMAND, 0, 0, 0)


@probes.probe
def multicall_at_wild_address() -> i64:
    return hypercall(abi.__HYPERVISOR_multicall, WILD_ADDRESS, 1, 0, 0, 0)


@probes.probe
def multicall_in_multicall() -> i64:
    calls[0].op = abi.__HYPERVISOR_multicall
    calls[0].args[0] = u64(ref(calls))
    calls[0].args[1] = 1
    assert hypercall(abi.__HYPERVISOR_multicall, u64(ref(calls)), 1, 0, 0, 0) == 0
    return truncate(i64, calls[0].result)


@probes.probe
def physical_device_bad_command() -> i64:
    return call(abi.__HYPERVISOR_physdev_op, BAD_COMMAND)


@probes.probe
def iopl_4() -> i64:
    level = abi.physdev_set_iopl(iopl=4)
    return hypercall(abi.__HYPERVISOR_physdev_op, abi.PHYSDEVOP_set_iopl, u64(ref(level)), 0, 0, 0)


@probes.probe
def map_interrupt() -> i64:
    return call(abi.__HYPERVISOR_physdev_op, abi.PHYSDEVOP_map_pirq)
