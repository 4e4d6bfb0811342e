"""vcpu_op on our own vCPU, and timers."""

import abi
from kpy import i64, ref, static, u64

from libos.event import shared_info
from libos.hypercall import hypercall
from libos.pages import alloc_pages
from libos.time import system_time_ns
from tests.guests.kernels.probes import ground
from tests.guests.kernels.probes.ground import (
    CORE_ADDRESS,
    NO_COMMAND,
    NO_FRAME,
    WILD_ADDRESS,
    frame_of,
)
from tests.guests.kernels.probes.transcript import fact, tell, truth

NS_PER_MS = 1_000_000
FAR = 1 << 62

context = static(abi.vcpu_guest_context)
runstate = static(abi.vcpu_runstate_info)
runstate_area = static(abi.vcpu_register_runstate_memory_area)
time_info = static(abi.vcpu_time_info)
time_area = static(abi.vcpu_register_time_memory_area)
period = static(abi.vcpu_set_periodic_timer)
single = static(abi.vcpu_set_singleshot_timer)
info = static(abi.vcpu_register_vcpu_info)
physid = static(abi.vcpu_get_physid)


def vcpu(command: u64, number: u64, argument: u64) -> i64:
    return hypercall(abi.__HYPERVISOR_vcpu_op, command, number, argument, 0, 0)


def ask_vcpus() -> None:
    tell(b"VCPUOP_is_up 0", vcpu(abi.VCPUOP_is_up, 0, 0))
    tell(b"VCPUOP_is_up missing vcpu", vcpu(abi.VCPUOP_is_up, 1, 0))
    tell(b"VCPUOP_is_up absurd vcpu", vcpu(abi.VCPUOP_is_up, 1 << 31, 0))
    tell(b"VCPUOP no such command", vcpu(NO_COMMAND, 0, 0))
    tell(b"VCPUOP no such command, missing vcpu", vcpu(NO_COMMAND, 1, 0))
    tell(b"VCPUOP_up running", vcpu(abi.VCPUOP_up, 0, 0))
    tell(b"VCPUOP_initialise running", vcpu(abi.VCPUOP_initialise, 0, u64(ref(context))))
    tell(b"VCPUOP_initialise unmapped", vcpu(abi.VCPUOP_initialise, 0, WILD_ADDRESS))
    tell(b"VCPUOP_down missing vcpu", vcpu(abi.VCPUOP_down, 1, 0))
    tell(b"VCPUOP_get_physid", vcpu(abi.VCPUOP_get_physid, 0, u64(ref(physid))))
    tell(b"VCPUOP_get_physid unmapped", vcpu(abi.VCPUOP_get_physid, 0, WILD_ADDRESS))
    hypercall(abi.__HYPERVISOR_nmi_op, abi.XENNMI_unregister_callback, 0, 0, 0, 0)
    tell(b"VCPUOP_send_nmi without a handler", vcpu(abi.VCPUOP_send_nmi, 0, 0))
    tell(b"VCPUOP_send_nmi with an argument", vcpu(abi.VCPUOP_send_nmi, 0, u64(ref(physid))))
    ask_runstate()
    ask_time_area()
    ask_timers()
    ask_vcpu_info()


def ask_runstate() -> None:
    here = u64(ref(runstate))
    tell(b"VCPUOP_get_runstate_info", vcpu(abi.VCPUOP_get_runstate_info, 0, here))
    fact(b"VCPUOP_get_runstate_info state", u64(runstate.state))
    truth(b"VCPUOP_get_runstate_info we ran", runstate.time[abi.RUNSTATE_running] > 0)
    tell(b"VCPUOP_get_runstate_info unmapped", vcpu(abi.VCPUOP_get_runstate_info, 0, WILD_ADDRESS))
    tell(
        b"VCPUOP_get_runstate_info in the core", vcpu(abi.VCPUOP_get_runstate_info, 0, CORE_ADDRESS)
    )
    register = abi.VCPUOP_register_runstate_memory_area
    area = u64(ref(runstate_area))
    runstate.state = 99
    runstate_area.addr.p = here
    tell(b"VCPUOP_register_runstate_memory_area", vcpu(register, 0, area))
    fact(b"VCPUOP_register_runstate_memory_area state", u64(runstate.state))
    runstate_area.addr.p = WILD_ADDRESS
    tell(b"VCPUOP_register_runstate_memory_area of nothing", vcpu(register, 0, area))
    runstate_area.addr.p = CORE_ADDRESS
    tell(b"VCPUOP_register_runstate_memory_area in the core", vcpu(register, 0, area))
    runstate_area.addr.p = 0
    tell(b"VCPUOP_register_runstate_memory_area null", vcpu(register, 0, area))
    tell(b"VCPUOP_register_runstate_memory_area unmapped", vcpu(register, 0, WILD_ADDRESS))


def ask_time_area() -> None:
    register = abi.VCPUOP_register_vcpu_time_memory_area
    area = u64(ref(time_area))
    time_area.addr.p = u64(ref(time_info))
    tell(b"VCPUOP_register_vcpu_time_memory_area", vcpu(register, 0, area))
    truth(b"VCPUOP_register_vcpu_time_memory_area filled", time_info.tsc_to_system_mul != 0)
    truth(b"VCPUOP_register_vcpu_time_memory_area even version", time_info.version % 2 == 0)
    time_area.addr.p = WILD_ADDRESS
    tell(b"VCPUOP_register_vcpu_time_memory_area of nothing", vcpu(register, 0, area))
    time_area.addr.p = CORE_ADDRESS
    tell(b"VCPUOP_register_vcpu_time_memory_area in the core", vcpu(register, 0, area))
    time_area.addr.p = 0
    tell(b"VCPUOP_register_vcpu_time_memory_area null", vcpu(register, 0, area))
    tell(b"VCPUOP_register_vcpu_time_memory_area unmapped", vcpu(register, 0, WILD_ADDRESS))


def ask_timers() -> None:
    set_period, here = u64(abi.VCPUOP_set_periodic_timer), u64(ref(period))
    period.period_ns = NS_PER_MS - 1
    tell(b"VCPUOP_set_periodic_timer below 1 ms", vcpu(set_period, 0, here))
    period.period_ns = NS_PER_MS
    tell(b"VCPUOP_set_periodic_timer 1 ms", vcpu(set_period, 0, here))
    period.period_ns = FAR
    tell(b"VCPUOP_set_periodic_timer absurd", vcpu(set_period, 0, here))
    period.period_ns = ~u64(0)
    tell(b"VCPUOP_set_periodic_timer negative", vcpu(set_period, 0, here))
    tell(b"VCPUOP_set_periodic_timer unmapped", vcpu(set_period, 0, WILD_ADDRESS))
    tell(b"VCPUOP_stop_periodic_timer", vcpu(abi.VCPUOP_stop_periodic_timer, 0, 0))
    tell(b"VCPUOP_stop_periodic_timer again", vcpu(abi.VCPUOP_stop_periodic_timer, 0, 0))
    set_single, there = u64(abi.VCPUOP_set_singleshot_timer), u64(ref(single))
    single.timeout_abs_ns = system_time_ns() + NS_PER_MS
    tell(b"VCPUOP_set_singleshot_timer soon", vcpu(set_single, 0, there))
    single.timeout_abs_ns = 1
    tell(b"VCPUOP_set_singleshot_timer past", vcpu(set_single, 0, there))
    single.flags = abi.VCPU_SSHOTTMR_future
    tell(b"VCPUOP_set_singleshot_timer past, future only", vcpu(set_single, 0, there))
    single.flags = 0
    single.timeout_abs_ns = FAR
    tell(b"VCPUOP_set_singleshot_timer absurd", vcpu(set_single, 0, there))
    single.timeout_abs_ns = ~u64(0)
    tell(b"VCPUOP_set_singleshot_timer negative", vcpu(set_single, 0, there))
    single.timeout_abs_ns = 0
    tell(b"VCPUOP_set_singleshot_timer 0", vcpu(set_single, 0, there))
    tell(b"VCPUOP_set_singleshot_timer unmapped", vcpu(set_single, 0, WILD_ADDRESS))
    tell(b"VCPUOP_stop_singleshot_timer", vcpu(abi.VCPUOP_stop_singleshot_timer, 0, 0))
    timer = u64(abi.__HYPERVISOR_set_timer_op)
    tell(b"set_timer_op far", hypercall(timer, FAR, 0, 0, 0, 0))
    tell(b"set_timer_op negative", hypercall(timer, ~u64(0), 0, 0, 0, 0))
    tell(b"set_timer_op past", hypercall(timer, 1, 0, 0, 0, 0))
    tell(b"set_timer_op stop", hypercall(timer, 0, 0, 0, 0, 0))


def ask_vcpu_info() -> None:
    """Wrong places; the right one is tried in the second domain, since it is for good."""
    register, here = u64(abi.VCPUOP_register_vcpu_info), u64(ref(info))
    page = alloc_pages(1)
    info.mfn = frame_of(page)
    info.offset = 4096 - 8
    tell(b"VCPUOP_register_vcpu_info across the page's end", vcpu(register, 0, here))
    info.offset = 4096
    tell(b"VCPUOP_register_vcpu_info behind the page", vcpu(register, 0, here))
    info.offset = 0
    info.mfn = NO_FRAME
    tell(b"VCPUOP_register_vcpu_info missing frame", vcpu(register, 0, here))
    info.mfn = ground.foreign
    tell(b"VCPUOP_register_vcpu_info foreign frame", vcpu(register, 0, here))
    info.mfn = frame_of(ground.table_page)
    tell(b"VCPUOP_register_vcpu_info missing vcpu", vcpu(register, 1, here))
    tell(b"VCPUOP_register_vcpu_info unmapped", vcpu(register, 0, WILD_ADDRESS))
    truth(
        b"VCPUOP_register_vcpu_info still in shared_info",
        shared_info.vcpu_info[0].time.tsc_to_system_mul != 0,
    )
