"""Time as guests see it.

System time in each vCPU's vcpu_time_info, the wall clock in the shared page, and timers.

System time is the core's own formula over the TSC with constant parameters, so a vCPU's
vcpu_time_info is written once, where it lies, and never again: what it says stays true on every
CPU.
"""

import abi
from kpy import (
    Guest,
    Ptr,
    Tainted,
    atomic_store,
    container_of,
    i64,
    ref,
    saturating_sub,
    static,
    truncate,
    trusted,
    u16,
    u32,
    u64,
    wrapping_add,
    wrapping_mul,
)

from kernel.base.guest_memory import copy_to_guest
from kernel.base.ids import DomId
from kernel.base.registry import hypercall
from kernel.evtchn.virq import send_guest_vcpu_virq
from kernel.sched.timer_heap import init_timer, set_timer, stop_timer
from kernel.state.domain import Domain, DOMDYING_alive, first_domain_from
from kernel.state.timer import Timer
from kernel.state.vcpu import Vcpu
from kernel.x86.tsc import (
    NS_PER_MS,
    NS_PER_S,
    system_time_ns,
    tsc_base,
    tsc_shift,
    tsc_to_system_mul,
)
from kernel.x86.wallclock import read_cmos_seconds

DEFAULT_PERIOD_NS = 10 * NS_PER_MS
MAX_DELTA_NS = 1 << 50  # a timeout further away is taken for a mistake: 13 days
PVCLOCK_TSC_STABLE = 1 << 0  # in vcpu_time_info.flags: the same on all vCPUs, never goes back

wallclock_base_ns = static(Tainted[u64])  # since 1970, at system time 0


def init_vcpu_time(v: Ptr[Vcpu]) -> None:
    """Prepare a new vCPU's timers.

    The periodic one starts when the guest binds VIRQ_TIMER, unless it has stopped it before.
    """
    init_timer(ref(v.singleshot_timer), singleshot_expired)
    init_timer(ref(v.periodic_timer), periodic_expired)
    v.periodic_period_ns = DEFAULT_PERIOD_NS


def update_vcpu_time(v: Ptr[Vcpu]) -> None:
    """Write a vCPU's vcpu_time_info; an odd version tells the guest that it is changing."""
    time = ref(v.vcpu_info.time)
    atomic_store(ref(time.version), time.version | 1)
    time.tsc_timestamp = tsc_base
    time.system_time = 0
    time.tsc_to_system_mul = tsc_to_system_mul
    time.tsc_shift = tsc_shift
    time.flags = PVCLOCK_TSC_STABLE
    atomic_store(ref(time.version), wrapping_add(time.version, 1))


def copy_vcpu_time(v: Ptr[Vcpu], to: Guest[abi.vcpu_time_info]) -> bool:
    """Write the second copy that a guest may ask for.

    Context: the vCPU's address space is loaded.
    """
    return copy_to_guest(to, ref(v.vcpu_info.time))


def init_wallclock() -> None:
    """Read the machine's clock. Context: boot."""
    global wallclock_base_ns
    wallclock_base_ns = saturating_sub(read_cmos_seconds() * NS_PER_S, system_time_ns())


def set_wallclock(seconds: Tainted[u64], nanoseconds: Tainted[u32], at_ns: Tainted[u64]) -> None:
    """Set the wall clock: it showed `seconds` and `nanoseconds` since 1970 at system time `at_ns`.

    All domains see it.
    """
    global wallclock_base_ns
    now = wrapping_add(wrapping_mul(seconds, NS_PER_S), u64(nanoseconds))
    wallclock_base_ns = saturating_sub(now, at_ns)
    following = DomId(0)
    while True:
        with first_domain_from(following) as domain:
            if domain is None:
                break
            update_wallclock(domain)
            following = DomId(u16(domain.domain_id) + 1)


def update_wallclock(d: Ptr[Domain]) -> None:
    """Write a domain's wall clock into its shared page.

    An odd version tells the guest that it is changing.

    Locks: takes the domain's event lock, which a dying domain's killer takes before it frees the
    page.
    """
    with d.event_lock:
        if d.is_dying != DOMDYING_alive:
            return
        shared = d.shared_info
        seconds = wrapping_add(wallclock_base_ns // NS_PER_S, u64(d.time_offset_seconds))
        atomic_store(ref(shared.wc_version), shared.wc_version | 1)
        shared.wc_sec = truncate(u32, seconds)
        shared.wc_sec_hi = truncate(u32, seconds >> 32)
        shared.wc_nsec = truncate(u32, wallclock_base_ns % NS_PER_S)
        atomic_store(ref(shared.wc_version), wrapping_add(shared.wc_version, 1))


@hypercall(abi.__HYPERVISOR_set_timer_op)
def do_set_timer_op(vcpu: Ptr[Vcpu], timeout_ns: Tainted[u64]) -> i64:
    """Set or, with 0, stop the caller's one-shot timer.

    Hypercall: set_timer_op(timeout: absolute system time, ns). Returns: 0. A time in the past
    expires at once; one that is negative or absurdly far off, as a confused guest computes when
    time jumps, soon.
    """
    if timeout_ns == 0:
        stop_timer(ref(vcpu.singleshot_timer))
        return 0
    set_timer(ref(vcpu.singleshot_timer), sane_timeout(timeout_ns))
    return 0


def sane_timeout(timeout_ns: Tainted[u64]) -> u64:
    """Return a guest's timeout, or a time soon where it makes no sense."""
    now = system_time_ns()
    if saturating_sub(timeout_ns, now) > MAX_DELTA_NS:
        return now + 100 * NS_PER_MS
    return trusted(timeout_ns)  # near now


def singleshot_expired(timer: Ptr[Timer]) -> None:
    """Signal the vCPU whose one-shot timer this is. Context: timer interrupt."""
    send_guest_vcpu_virq(container_of(timer, Vcpu, "singleshot_timer"), abi.VIRQ_TIMER)


def set_period(v: Ptr[Vcpu], period_ns: u64) -> None:
    """Set or, with 0, stop a vCPU's periodic timer.

    Locks: takes the domain's event lock against its expiry.
    """
    with v.domain.event_lock:
        v.periodic_period_ns = period_ns
        stop_timer(ref(v.periodic_timer))
        if period_ns != 0:
            set_timer(ref(v.periodic_timer), system_time_ns() + period_ns)


def start_periodic_timer(v: Ptr[Vcpu]) -> None:
    """Start the periodic timer of a vCPU that has bound VIRQ_TIMER, unless it has stopped it."""
    if v.periodic_period_ns != 0 and not v.periodic_timer.is_active:
        set_period(v, v.periodic_period_ns)


def periodic_expired(timer: Ptr[Timer]) -> None:
    """Signal the vCPU and set its periodic timer anew; ticks that were missed are not made up.

    Context: timer interrupt.
    """
    v = container_of(timer, Vcpu, "periodic_timer")
    send_guest_vcpu_virq(v, abi.VIRQ_TIMER)
    with v.domain.event_lock:
        if v.periodic_period_ns != 0 and not timer.is_active:
            set_timer(timer, system_time_ns() + v.periodic_period_ns)
