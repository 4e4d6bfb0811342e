"""What a domain without privileges is told: each hypercall is made by the second domain."""

import abi
from kpy import Array, Ptr, bit, i64, ref, static, store, u8, u16, u32, u64

from libos.event import shared_info
from libos.hypercall import event_channel_op
from tests.guests.kernels.probes import second
from tests.guests.kernels.probes.second import BUFFER, buffer, second_call
from tests.guests.kernels.probes.transcript import fact, tell, tell_each, truth

DOM0 = 0
SIZE_WORDS = 64

event = u64(abi.__HYPERVISOR_event_channel_op)
memory = u64(abi.__HYPERVISOR_memory_op)


def clear() -> None:
    """Zero the structure that both see."""
    for i in range(SIZE_WORDS):
        store(Ptr[u64](buffer() + 8 * i), 0)


def ask_privileges() -> None:
    """Calls that are dom0's alone; the structure is all zeros where it matters not."""
    clear()
    for number in privileged:
        result = second_call(u64(number), BUFFER, 0, 0, 0)
        tell_each(b"without privileges, hypercall", u64(number), result)
    for command in range(34):
        clear()
        result = second_call(abi.__HYPERVISOR_physdev_op, u64(command), BUFFER, 0, 0)
        tell_each(b"physdev_op without privileges, command", u64(command), result)
    result = second_call(abi.__HYPERVISOR_console_io, abi.CONSOLEIO_write, 4, BUFFER, 0)
    tell(b"CONSOLEIO_write without privileges", result)
    result = second_call(abi.__HYPERVISOR_console_io, abi.CONSOLEIO_read, 4, BUFFER, 0)
    tell(b"CONSOLEIO_read without privileges", result)
    ask_versions()
    ask_scheduling()
    ask_memory()
    ask_page_tables()


PRIVILEGED = [
    abi.__HYPERVISOR_domctl,
    abi.__HYPERVISOR_sysctl,
    abi.__HYPERVISOR_platform_op,
]
privileged = static(Array[u32, len(PRIVILEGED)], PRIVILEGED)


def ask_versions() -> None:
    for command in range(12):
        clear()
        result = second_call(abi.__HYPERVISOR_xen_version, u64(command), BUFFER, 0, 0)
        if command not in (abi.XENVER_version, abi.XENVER_build_id):
            tell_each(b"xen_version without privileges, command", u64(command), result)
    clear()
    second_call(abi.__HYPERVISOR_xen_version, abi.XENVER_get_features, BUFFER, 0, 0)
    info = Ptr[abi.xen_feature_info](buffer())
    fact(b"XENVER_get_features without privileges", u64(info.submap))
    clear()
    second_call(abi.__HYPERVISOR_xen_version, abi.XENVER_commandline, BUFFER, 0, 0)
    text = Ptr[Array[u8, 16]](buffer())
    fact(b"XENVER_commandline without privileges begins", u64(text[0]))


def ask_scheduling() -> None:
    sched = u64(abi.__HYPERVISOR_sched_op)
    clear()
    Ptr[abi.sched_remote_shutdown](buffer()).reason = abi.SHUTDOWN_crash
    result = second_call(sched, abi.SCHEDOP_remote_shutdown, BUFFER, 0, 0)
    tell(b"SCHEDOP_remote_shutdown of dom0 without privileges", result)
    clear()
    result = second_call(sched, abi.SCHEDOP_pin_override, BUFFER, 0, 0)
    tell(b"SCHEDOP_pin_override without privileges", result)
    clear()
    result = second_call(sched, abi.SCHEDOP_shutdown_code, BUFFER, 0, 0)
    tell(b"SCHEDOP_shutdown_code without privileges", result)
    vcpu = u64(abi.__HYPERVISOR_vcpu_op)
    clear()
    info = Ptr[abi.vcpu_register_vcpu_info](buffer())
    info.mfn = second.frames[second.VCPU_INFO]
    info.offset = 65
    result = second_call(vcpu, abi.VCPUOP_register_vcpu_info, 0, BUFFER, 0)
    tell(b"VCPUOP_register_vcpu_info unaligned", result)
    info.offset = 64
    result = second_call(vcpu, abi.VCPUOP_register_vcpu_info, 0, BUFFER, 0)
    tell(b"VCPUOP_register_vcpu_info", result)
    result = second_call(vcpu, abi.VCPUOP_register_vcpu_info, 0, BUFFER, 0)
    tell(b"VCPUOP_register_vcpu_info again", result)
    moved = Ptr[abi.vcpu_info](second.page(second.VCPU_INFO) + 64)
    truth(b"VCPUOP_register_vcpu_info has the time", moved.time.tsc_to_system_mul != 0)
    fact(b"VCPUOP_register_vcpu_info selector", moved.evtchn_pending_sel)
    fact(b"VCPUOP_register_vcpu_info pending", u64(moved.evtchn_upcall_pending))


def reserve(command: u64, domain: u16, order: u32, list_: u64) -> i64:
    """Have it ask for memory, one extent."""
    clear()
    request = Ptr[abi.xen_memory_reservation](buffer())
    store(Ptr[u64](buffer()), list_)
    request.nr_extents = 1
    request.extent_order = order
    request.domid = domain
    return second_call(memory, command, BUFFER, 0, 0)


def ask_memory() -> None:
    result = reserve(abi.XENMEM_populate_physmap, abi.DOMID_SELF, 0, BUFFER + 128)
    tell(b"XENMEM_populate_physmap at the limit", result)
    result = reserve(abi.XENMEM_populate_physmap, DOM0, 0, BUFFER + 128)
    tell(b"XENMEM_populate_physmap dom0's without privileges", result)
    result = reserve(abi.XENMEM_decrease_reservation, DOM0, 0, BUFFER + 128)
    tell(b"XENMEM_decrease_reservation dom0's without privileges", result)
    for command in memory_questions:
        clear()
        result = second_call(memory, u64(command), BUFFER, 0, 0)
        tell_each(b"memory_op about dom0 without privileges, command", u64(command), result)
    clear()
    store(Ptr[u64](buffer()), abi.DOMID_SELF)
    result = second_call(memory, abi.XENMEM_current_reservation, BUFFER, 0, 0)
    tell(b"XENMEM_current_reservation own", result)
    result = second_call(memory, abi.XENMEM_maximum_reservation, BUFFER, 0, 0)
    tell(b"XENMEM_maximum_reservation own", result)


MEMORY_QUESTIONS = [
    abi.XENMEM_current_reservation,
    abi.XENMEM_maximum_reservation,
    abi.XENMEM_machphys_mfn_list,
    abi.XENMEM_memory_map,
    abi.XENMEM_machine_memory_map,
    abi.XENMEM_set_memory_map,
    abi.XENMEM_maximum_gpfn,
    abi.XENMEM_claim_pages,
    abi.XENMEM_get_vnumainfo,
    abi.XENMEM_get_pod_target,
    abi.XENMEM_set_pod_target,
    abi.XENMEM_acquire_resource,
    abi.XENMEM_remove_from_physmap,
]
memory_questions = static(Array[u32, len(MEMORY_QUESTIONS)], MEMORY_QUESTIONS)


def ask_page_tables() -> None:
    """It reaches for the first domain's frames."""
    number = u64(abi.__HYPERVISOR_mmu_update)
    clear()
    update = Ptr[abi.mmu_update](buffer())
    entry = second.frames[second.L1] << 12 | 8 * second.HOLE
    update.ptr = entry
    update.val = second.machine_address(second.window) | 3
    tell(b"mmu_update a frame of dom0's as own", second_call(number, BUFFER, 1, 0, abi.DOMID_SELF))
    tell(b"mmu_update a frame of dom0's", second_call(number, BUFFER, 1, 0, DOM0))
    result = second_call(number, BUFFER, 1, 0, abi.DOMID_SELF | 1 << 16)
    tell(b"mmu_update dom0's tables", result)
    result = second_call(number, BUFFER, 1, 0, abi.DOMID_IO)
    tell(b"mmu_update I/O memory", result)
    result = second_call(number, BUFFER, 1, 0, abi.DOMID_XEN)
    tell(b"mmu_update the core's", result)
    update.val = 0xFEC0_0000 | 3
    result = second_call(number, BUFFER, 1, 0, abi.DOMID_IO)
    tell(b"mmu_update an I/O APIC", result)
    update.val = second.frames[second.HOLE] << 12 | 3
    tell(b"mmu_update own frame", second_call(number, BUFFER, 1, 0, abi.DOMID_SELF))
    update.val = 0
    tell(b"mmu_update nothing", second_call(number, BUFFER, 1, 0, abi.DOMID_SELF))
    for command in range(21):
        clear()
        operation = Ptr[abi.mmuext_op](buffer())
        operation.cmd = u32(command)
        result = second_call(abi.__HYPERVISOR_mmuext_op, BUFFER, 1, 0, DOM0)
        tell_each(b"mmuext_op on dom0 without privileges, command", u64(command), result)


def ask_events() -> None:
    """One channel from each side."""
    clear()
    open_ = Ptr[abi.evtchn_alloc_unbound](buffer())
    open_.dom = abi.DOMID_SELF
    open_.remote_dom = DOM0
    tell(
        b"EVTCHNOP_alloc_unbound by the second",
        second_call(event, abi.EVTCHNOP_alloc_unbound, BUFFER, 0, 0),
    )
    far = open_.port
    fact(b"EVTCHNOP_alloc_unbound by the second, port", u64(far))
    bind = abi.evtchn_bind_interdomain(remote_dom=second.domid, remote_port=far)
    tell(
        b"EVTCHNOP_bind_interdomain between two",
        event_channel_op(abi.EVTCHNOP_bind_interdomain, ref(bind)),
    )
    near = bind.local_port
    mask = bit(u64(near % 64))
    shared_info.evtchn_mask[near // 64] |= mask
    shared_info.evtchn_pending[near // 64] &= ~mask
    Ptr[abi.evtchn_send](buffer()).port = far
    tell(b"EVTCHNOP_send by the second", second_call(event, abi.EVTCHNOP_send, BUFFER, 0, 0))
    truth(
        b"EVTCHNOP_send by the second, arrived", shared_info.evtchn_pending[near // 64] & mask != 0
    )
    theirs = Ptr[abi.shared_info](second.page(second.SHARED_INFO))
    send = abi.evtchn_send(port=near)
    theirs.evtchn_pending[0] = 0
    tell(b"EVTCHNOP_send to the second", event_channel_op(abi.EVTCHNOP_send, ref(send)))
    fact(b"EVTCHNOP_send to the second, pending", theirs.evtchn_pending[0])
    status = abi.evtchn_status(dom=second.domid, port=far)
    tell(b"EVTCHNOP_status of the second", event_channel_op(abi.EVTCHNOP_status, ref(status)))
    fact(b"EVTCHNOP_status of the second, status", u64(status.status))
    fact(b"EVTCHNOP_status of the second, domain", u64(status.u.interdomain.dom))
    clear()
    Ptr[abi.evtchn_status](buffer()).port = near
    tell(
        b"EVTCHNOP_status of dom0 without privileges",
        second_call(event, abi.EVTCHNOP_status, BUFFER, 0, 0),
    )
    clear()
    tell(
        b"EVTCHNOP_reset of dom0 without privileges",
        second_call(event, abi.EVTCHNOP_reset, BUFFER, 0, 0),
    )
    clear()
    tell(
        b"EVTCHNOP_alloc_unbound of dom0 without privileges",
        second_call(event, abi.EVTCHNOP_alloc_unbound, BUFFER, 0, 0),
    )
    clear()
    Ptr[abi.evtchn_bind_interdomain](buffer()).remote_port = near
    tell(
        b"EVTCHNOP_bind_interdomain not for it",
        second_call(event, abi.EVTCHNOP_bind_interdomain, BUFFER, 0, 0),
    )
    clear()
    Ptr[abi.evtchn_bind_virq](buffer()).virq = abi.VIRQ_DOM_EXC
    tell(
        b"EVTCHNOP_bind_virq DOM_EXC without privileges",
        second_call(event, abi.EVTCHNOP_bind_virq, BUFFER, 0, 0),
    )
    clear()
    Ptr[abi.evtchn_bind_pirq](buffer()).pirq = 9
    tell(
        b"EVTCHNOP_bind_pirq without privileges",
        second_call(event, abi.EVTCHNOP_bind_pirq, BUFFER, 0, 0),
    )
    reset = abi.evtchn_reset(dom=second.domid)
    tell(b"EVTCHNOP_reset of one that runs", event_channel_op(abi.EVTCHNOP_reset, ref(reset)))
    second.control(abi.XEN_DOMCTL_pausedomain)
    tell(b"EVTCHNOP_reset", event_channel_op(abi.EVTCHNOP_reset, ref(reset)))
    second.control(abi.XEN_DOMCTL_unpausedomain)
    mine = abi.evtchn_status(dom=abi.DOMID_SELF, port=near)
    event_channel_op(abi.EVTCHNOP_status, ref(mine))
    fact(b"EVTCHNOP_reset leaves the other end", u64(mine.status))
    for_second = abi.evtchn_alloc_unbound(dom=second.domid, remote_dom=DOM0)
    tell(
        b"EVTCHNOP_alloc_unbound of the second",
        event_channel_op(abi.EVTCHNOP_alloc_unbound, ref(for_second)),
    )
    fact(b"EVTCHNOP_alloc_unbound of the second, port", u64(for_second.port))
    close = abi.evtchn_close(port=near)
    event_channel_op(abi.EVTCHNOP_close, ref(close))
