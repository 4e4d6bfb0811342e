"""Event channels within one domain: every state of a port, what changes it, and what it shows."""

import abi
from kpy import Array, bit, i64, ref, static, u16, u32, u64

from libos.event import disable_events, enable_events, shared_info
from libos.hypercall import event_channel_op, hypercall
from tests.guests.kernels.probes.ground import NO_COMMAND, NO_DOMAIN, NO_FRAME, WILD_ADDRESS
from tests.guests.kernels.probes.transcript import fact, tell, tell_each, truth

NR_COMMANDS = 14
MOST_PORTS = 5000

SPECIAL_DOMAINS = [
    abi.DOMID_IO,
    abi.DOMID_XEN,
    abi.DOMID_COW,
    abi.DOMID_INVALID,
    abi.DOMID_IDLE,
]
PIRQS = [0, 2, 4, 9, 40, 5000, 1 << 31]

special_domains = static(Array[u16, len(SPECIAL_DOMAINS)], SPECIAL_DOMAINS)
pirqs = static(Array[u32, len(PIRQS)], PIRQS)
status = static(abi.evtchn_status)
compat = static(abi.evtchn_op)
alloc = static(abi.evtchn_alloc_unbound)
inter = static(abi.evtchn_bind_interdomain)
virq = static(abi.evtchn_bind_virq)


def ask_channels() -> None:
    for command in range(NR_COMMANDS):
        result = hypercall(abi.__HYPERVISOR_event_channel_op, u64(command), WILD_ADDRESS, 0, 0, 0)
        tell_each(b"event_channel_op unmapped, command", u64(command), result)
    disable_events()
    ask_unbound()
    ask_interdomain()
    ask_virqs()
    ask_ipi()
    ask_pirqs()
    ask_fifo()
    ask_compat()
    ask_limits()
    shared_info.vcpu_info[0].evtchn_pending_sel = 0
    shared_info.vcpu_info[0].evtchn_upcall_pending = 0
    enable_events()


def ask_status(port: u32) -> i64:
    """Fill `status` for a port of ours."""
    status.dom = abi.DOMID_SELF
    status.port = port
    status.status = 99
    status.vcpu = 99
    return event_channel_op(abi.EVTCHNOP_status, ref(status))


def state_of(port: u32) -> u64:
    """Return a port's state, or 99 when there is no such port."""
    ask_status(port)
    return u64(status.status)


def is_pending(port: u32) -> bool:
    return shared_info.evtchn_pending[port // 64] & bit(u64(port % 64)) != 0


def set_masked(port: u32, masked: bool) -> None:
    if masked:
        shared_info.evtchn_mask[port // 64] |= bit(u64(port % 64))
    else:
        shared_info.evtchn_mask[port // 64] &= ~bit(u64(port % 64))


def forget(port: u32) -> None:
    """Clear all signs of an event."""
    shared_info.evtchn_pending[port // 64] &= ~bit(u64(port % 64))
    shared_info.vcpu_info[0].evtchn_pending_sel = 0
    shared_info.vcpu_info[0].evtchn_upcall_pending = 0


def unbound(remote: u16) -> u32:
    alloc.dom = abi.DOMID_SELF
    alloc.remote_dom = remote
    assert event_channel_op(abi.EVTCHNOP_alloc_unbound, ref(alloc)) == 0
    return alloc.port


def send(port: u32) -> i64:
    op = abi.evtchn_send(port=port)
    return event_channel_op(abi.EVTCHNOP_send, ref(op))


def close(port: u32) -> i64:
    op = abi.evtchn_close(port=port)
    return event_channel_op(abi.EVTCHNOP_close, ref(op))


def unmask(port: u32) -> i64:
    op = abi.evtchn_unmask(port=port)
    return event_channel_op(abi.EVTCHNOP_unmask, ref(op))


def move(port: u32, vcpu: u32) -> i64:
    op = abi.evtchn_bind_vcpu(port=port, vcpu=vcpu)
    return event_channel_op(abi.EVTCHNOP_bind_vcpu, ref(op))


def ask_unbound() -> None:
    alloc.dom = abi.DOMID_SELF
    alloc.remote_dom = NO_DOMAIN
    tell(
        b"EVTCHNOP_alloc_unbound for a missing domain",
        event_channel_op(abi.EVTCHNOP_alloc_unbound, ref(alloc)),
    )
    port = alloc.port
    tell(b"EVTCHNOP_status unbound", ask_status(port))
    fact(b"EVTCHNOP_status unbound, status", u64(status.status))
    fact(b"EVTCHNOP_status unbound, vcpu", u64(status.vcpu))
    fact(b"EVTCHNOP_status unbound, domain", u64(status.u.unbound.dom))
    tell(b"EVTCHNOP_send unbound", send(port))
    truth(b"EVTCHNOP_send unbound, pending", is_pending(port))
    tell(b"EVTCHNOP_bind_vcpu unbound", move(port, 0))
    tell(b"EVTCHNOP_bind_vcpu missing vcpu", move(port, 1))
    tell(b"EVTCHNOP_bind_vcpu missing vcpu and port", move(MOST_PORTS, 1))
    tell(b"EVTCHNOP_unmask unbound", unmask(port))
    tell(b"EVTCHNOP_close unbound", close(port))
    tell(b"EVTCHNOP_close closed", close(port))
    tell(b"EVTCHNOP_send closed", send(port))
    tell(b"EVTCHNOP_unmask closed", unmask(port))
    tell(b"EVTCHNOP_bind_vcpu closed", move(port, 0))
    tell(b"EVTCHNOP_status closed", ask_status(port))
    fact(b"EVTCHNOP_status closed, status", u64(status.status))
    tell(b"EVTCHNOP_status port 0", ask_status(0))
    fact(b"EVTCHNOP_status port 0, status", u64(status.status))
    tell(b"EVTCHNOP_unmask port 0", unmask(0))
    tell(b"EVTCHNOP_status port 4095", ask_status(4095))
    tell(b"EVTCHNOP_status port 4096", ask_status(4096))
    alloc.remote_dom = abi.DOMID_INVALID
    tell(
        b"EVTCHNOP_alloc_unbound for DOMID_INVALID",
        event_channel_op(abi.EVTCHNOP_alloc_unbound, ref(alloc)),
    )
    ask_status(alloc.port)
    fact(b"EVTCHNOP_alloc_unbound for DOMID_INVALID, domain", u64(status.u.unbound.dom))
    truth(b"EVTCHNOP_alloc_unbound takes the lowest port", alloc.port == port)
    close(alloc.port)
    alloc.dom = abi.DOMID_IO
    tell(
        b"EVTCHNOP_alloc_unbound of DOMID_IO",
        event_channel_op(abi.EVTCHNOP_alloc_unbound, ref(alloc)),
    )


def ask_interdomain() -> None:
    far = unbound(abi.DOMID_SELF)
    inter.remote_dom = abi.DOMID_SELF
    inter.remote_port = far
    set_masked(far, False)
    bind = u64(abi.EVTCHNOP_bind_interdomain)
    tell(b"EVTCHNOP_bind_interdomain loopback", event_channel_op(bind, ref(inter)))
    near = inter.local_port
    truth(b"EVTCHNOP_bind_interdomain near end pending", is_pending(near))
    truth(b"EVTCHNOP_bind_interdomain far end pending", is_pending(far))
    tell(b"EVTCHNOP_bind_interdomain bound port", event_channel_op(bind, ref(inter)))
    inter.remote_port = 0
    tell(b"EVTCHNOP_bind_interdomain port 0", event_channel_op(bind, ref(inter)))
    tell(b"EVTCHNOP_status interdomain", ask_status(near))
    fact(b"EVTCHNOP_status interdomain, status", u64(status.status))
    fact(b"EVTCHNOP_status interdomain, domain", u64(status.u.interdomain.dom))
    truth(b"EVTCHNOP_status interdomain, port", status.u.interdomain.port == far)
    forget(near)
    set_masked(far, False)
    tell(b"EVTCHNOP_send interdomain", send(near))
    truth(b"EVTCHNOP_send interdomain, far pending", is_pending(far))
    truth(b"EVTCHNOP_send interdomain, near pending", is_pending(near))
    truth(b"EVTCHNOP_send interdomain, upcall", shared_info.vcpu_info[0].evtchn_upcall_pending == 1)
    selector = shared_info.vcpu_info[0].evtchn_pending_sel
    truth(b"EVTCHNOP_send interdomain, selector", selector == bit(u64(far // 64)))
    forget(far)
    set_masked(far, True)
    tell(b"EVTCHNOP_send masked", send(near))
    truth(b"EVTCHNOP_send masked, pending", is_pending(far))
    truth(b"EVTCHNOP_send masked, upcall", shared_info.vcpu_info[0].evtchn_upcall_pending == 1)
    tell(b"EVTCHNOP_unmask pending", unmask(far))
    truth(b"EVTCHNOP_unmask pending, upcall", shared_info.vcpu_info[0].evtchn_upcall_pending == 1)
    truth(
        b"EVTCHNOP_unmask pending, mask is clear",
        shared_info.evtchn_mask[far // 64] & bit(u64(far % 64)) == 0,
    )
    shared_info.vcpu_info[0].evtchn_upcall_pending = 0
    shared_info.vcpu_info[0].evtchn_pending_sel = 0
    tell(b"EVTCHNOP_unmask unmasked", unmask(far))
    truth(b"EVTCHNOP_unmask unmasked, upcall", shared_info.vcpu_info[0].evtchn_upcall_pending == 1)
    tell(b"EVTCHNOP_bind_vcpu interdomain", move(near, 0))
    tell(b"EVTCHNOP_close interdomain", close(near))
    fact(b"EVTCHNOP_close interdomain, far end's status", state_of(far))
    fact(b"EVTCHNOP_close interdomain, far end waits for", u64(status.u.unbound.dom))
    truth(b"EVTCHNOP_close interdomain, far end pending", is_pending(far))
    close(far)
    truth(b"EVTCHNOP_close clears pending", not is_pending(far))
    other = unbound(NO_DOMAIN)
    inter.remote_port = other
    tell(b"EVTCHNOP_bind_interdomain waits for another", event_channel_op(bind, ref(inter)))
    close(other)
    for special in special_domains:
        ask_special_domain(special)


def ask_special_domain(domid: u16) -> None:
    """Ids that name no domain that can be talked to."""
    inter.remote_dom = domid
    result = event_channel_op(abi.EVTCHNOP_bind_interdomain, ref(inter))
    tell_each(b"EVTCHNOP_bind_interdomain domain", u64(domid), result)
    status.dom = domid
    result = event_channel_op(abi.EVTCHNOP_status, ref(status))
    tell_each(b"EVTCHNOP_status domain", u64(domid), result)


def ask_virqs() -> None:
    """Every VIRQ, bound, shown, bound again, and closed."""
    for number in range(abi.NR_VIRQS + 1):
        virq.virq = u32(number)
        virq.vcpu = 0
        result = event_channel_op(abi.EVTCHNOP_bind_virq, ref(virq))
        tell_each(b"EVTCHNOP_bind_virq", u64(number), result)
        if result == 0:
            ask_virq(virq.port)
    virq.virq = abi.VIRQ_DOM_EXC
    virq.vcpu = 1
    result = event_channel_op(abi.EVTCHNOP_bind_virq, ref(virq))
    tell(b"EVTCHNOP_bind_virq global, vcpu 1", result)
    virq.virq = abi.VIRQ_DEBUG
    virq.vcpu = ~u32(0)
    result = event_channel_op(abi.EVTCHNOP_bind_virq, ref(virq))
    tell(b"EVTCHNOP_bind_virq absurd vcpu", result)


def ask_virq(port: u32) -> None:
    number = u64(virq.virq)
    ask_status(port)
    tell_each(b"EVTCHNOP_status of virq", number, i64(status.status))
    tell_each(b"EVTCHNOP_status names virq", number, i64(status.u.virq))
    tell_each(b"EVTCHNOP_send virq", number, send(port))
    tell_each(b"EVTCHNOP_bind_vcpu virq", number, move(port, 0))
    result = event_channel_op(abi.EVTCHNOP_bind_virq, ref(virq))
    tell_each(b"EVTCHNOP_bind_virq twice", number, result)
    tell_each(b"EVTCHNOP_close virq", number, close(port))


def ask_ipi() -> None:
    ipi = abi.evtchn_bind_ipi(vcpu=0)
    tell(b"EVTCHNOP_bind_ipi", event_channel_op(abi.EVTCHNOP_bind_ipi, ref(ipi)))
    fact(b"EVTCHNOP_bind_ipi status", state_of(ipi.port))
    set_masked(ipi.port, True)
    tell(b"EVTCHNOP_send ipi", send(ipi.port))
    truth(b"EVTCHNOP_send ipi, pending", is_pending(ipi.port))
    tell(b"EVTCHNOP_bind_vcpu ipi", move(ipi.port, 0))
    close(ipi.port)
    ipi.vcpu = 1
    tell(b"EVTCHNOP_bind_ipi missing vcpu", event_channel_op(abi.EVTCHNOP_bind_ipi, ref(ipi)))


def ask_pirqs() -> None:
    for number in pirqs:
        ask_pirq(number)


def ask_pirq(number: u32) -> None:
    op = abi.evtchn_bind_pirq(pirq=number)
    result = event_channel_op(abi.EVTCHNOP_bind_pirq, ref(op))
    tell_each(b"EVTCHNOP_bind_pirq", u64(number), result)
    if result == 0:
        tell_each(b"EVTCHNOP_bind_pirq status", u64(number), i64(state_of(op.port)))
        tell_each(b"EVTCHNOP_status names pirq", u64(number), i64(status.u.pirq))
        tell_each(b"EVTCHNOP_send pirq", u64(number), send(op.port))
        result = event_channel_op(abi.EVTCHNOP_bind_pirq, ref(op))
        tell_each(b"EVTCHNOP_bind_pirq twice", u64(number), result)
        tell_each(b"EVTCHNOP_close pirq", u64(number), close(op.port))


def ask_fifo() -> None:
    """Only wrongly: a domain that changes to the FIFO layout cannot come back."""
    control = abi.evtchn_init_control(control_gfn=NO_FRAME, offset=4096, vcpu=0)
    tell(
        b"EVTCHNOP_init_control bad offset",
        event_channel_op(abi.EVTCHNOP_init_control, ref(control)),
    )
    expand = abi.evtchn_expand_array(array_gfn=NO_FRAME)
    tell(b"EVTCHNOP_expand_array", event_channel_op(abi.EVTCHNOP_expand_array, ref(expand)))
    priority = abi.evtchn_set_priority(port=1, priority=1)
    tell(b"EVTCHNOP_set_priority", event_channel_op(abi.EVTCHNOP_set_priority, ref(priority)))
    reset = abi.evtchn_reset(dom=NO_DOMAIN)
    tell(b"EVTCHNOP_reset missing domain", event_channel_op(abi.EVTCHNOP_reset, ref(reset)))


def ask_compat() -> None:
    number = u64(abi.__HYPERVISOR_event_channel_op_compat)
    here = u64(ref(compat))
    compat.cmd = abi.EVTCHNOP_alloc_unbound
    compat.u.alloc_unbound.dom = abi.DOMID_SELF
    compat.u.alloc_unbound.remote_dom = abi.DOMID_SELF
    tell(b"event_channel_op_compat alloc_unbound", hypercall(number, here, 0, 0, 0, 0))
    port = compat.u.alloc_unbound.port
    compat.cmd = abi.EVTCHNOP_send
    compat.u.send.port = port
    tell(b"event_channel_op_compat send", hypercall(number, here, 0, 0, 0, 0))
    compat.cmd = abi.EVTCHNOP_reset
    compat.u.close.port = NO_DOMAIN
    tell(b"event_channel_op_compat reset", hypercall(number, here, 0, 0, 0, 0))
    compat.cmd = NO_COMMAND
    tell(b"event_channel_op_compat no such command", hypercall(number, here, 0, 0, 0, 0))
    tell(b"event_channel_op_compat unmapped", hypercall(number, WILD_ADDRESS, 0, 0, 0, 0))
    close(port)


def ask_limits() -> None:
    """Open ports until there are no more."""
    first = unbound(abi.DOMID_SELF)
    last = first
    result: i64 = 0
    while result == 0 and last < MOST_PORTS:
        result = event_channel_op(abi.EVTCHNOP_alloc_unbound, ref(alloc))
        if result == 0:
            last = alloc.port
    tell(b"EVTCHNOP_alloc_unbound one too many", result)
    fact(b"EVTCHNOP_alloc_unbound last port", u64(last))
    for port in range(first, last + 1):
        close(port)
