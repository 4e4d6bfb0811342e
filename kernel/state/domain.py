"""Domains: the struct, the table of all of them, and references.

How one comes and goes is in `kernel.domain.life` and `kernel.domain.free`. A `Domain` stays in the
table until its last reference goes: whoever finds it there may be looking at one that is dying, and
must ask.
"""

import abi
from kpy import (
    Array,
    Fn,
    Ptr,
    Slice,
    Tainted,
    atomic_add,
    atomic_sub,
    cold,
    enum,
    gives_back,
    inline,
    noinline,
    ref,
    sizeof,
    static,
    struct,
    u8,
    u16,
    u32,
    u64,
)

from kernel.base.ids import DomId, Maddr, Mfn, Vaddr
from kernel.base.spinlock import SpinLock
from kernel.state.domain_table import unlink_domain
from kernel.state.evtchn_table import EvtchnTable
from kernel.state.frame_table import FrameLink
from kernel.state.grant_table import GrantTable
from kernel.state.timer import Timer
from kernel.state.vcpu import MAX_VCPUS, Vcpu

MAX_DOMAINS = 128  # at once, dying ones included
HASH_BUCKETS = 64
ARCHITECTURAL_IOPL = 1 << abi.VMASST_TYPE_architectural_iopl  # in `vm_assist`
NR_WATCHDOGS = 2

# In `shutdown_code`: it has not shut down. Its bits are what the toolstack is told for that.
SHUTDOWN_CODE_none = (1 << 32) - 1

DOMDYING_alive = 0
DOMDYING_dying = 1  # being taken apart
DOMDYING_dead = 2  # taken apart, but others hold references


@enum(u8)
class KillPhase:
    """How far `domain_life.domain_kill` has come."""

    events = 0
    grants = 1
    memory = 2
    shared_frames = 3
    done = 4


@struct
class Watchdog:
    """A guest's watchdog (SCHEDOP_watchdog): shuts the domain down unless it is poked in time."""

    timer: Timer
    domain: Ptr["Domain"]


@struct(align=64)
class Domain:
    domain_id: DomId
    is_privileged: bool  # dom0: may use domctl, sysctl, platform_op, physdev_op
    is_dying: u8  # DOMDYING_*
    is_shut_down: bool  # every vCPU has stopped for the shutdown
    is_shutting_down: bool
    creation_finished: bool  # the toolstack has unpaused it once
    shutdown_code: u32  # SHUTDOWN_*, or SHUTDOWN_CODE_none
    shutdown_lock: SpinLock  # taken inside any other but event locks: a domain may crash anywhere
    refcount: u32
    pause_count: u32  # all reasons; 0: its vCPUs may run
    controller_pause_count: u32  # the part of pause_count that domctls and debug traps made
    debugger_attached: (
        bool  # breakpoints and steps of its kernel pause it (kernel/panic/debugger.py)
    )
    handle: Tainted[Array[u8, 16]]
    lock: SpinLock
    flags: u32  # XEN_DOMCTL_CDF_*
    ssidref: Tainted[u32]
    max_vcpus: u32
    vcpus: Array[Ptr[Vcpu] | None, MAX_VCPUS]
    hash_next: Ptr["Domain"] | None
    list_next: Ptr["Domain"] | None  # all domains by rising id
    arch_config: Tainted[abi.xen_arch_domainconfig]
    watchdogs: Array[Watchdog, NR_WATCHDOGS]
    watchdogs_in_use: u32  # bit per watchdog
    kill_phase: KillPhase

    # Memory (kernel/frames/frame.py, kernel/paging/base_pointer.py, kernel/memory/memory_op.py)
    page_lock: SpinLock
    first_frame: FrameLink | None  # list of owned frames through Frame.next
    # list of those dealt with by kernel/domain/relinquish.py, but still in use
    relinquished_frame: FrameLink | None
    tot_pages: u32
    max_pages: u32
    outstanding_pages: u32  # promised by XENMEM_claim_pages and not yet allocated
    xenheap_pages: u32  # pages of the core that it may map
    memory_map: Vaddr | None  # a core page of e820 entries (XENMEM_set_memory_map)
    nr_memory_map: u32
    shared_info: Ptr[Tainted[abi.shared_info]]  # a core page, mapped by the guest
    shared_info_mfn: Mfn | None  # None: given up
    vm_assist: u64
    dirty_cpumask: u64  # CPUs whose TLB may hold this domain's translations

    # Address space (kernel/x86/perdomain.py)
    perdomain_l3: Mfn | None
    perdomain_l1: Array[Maddr | None, 2]

    # Scheduling (kernel/sched/schedule.py)
    sched_weight: u32  # share of processor time, against DEFAULT_WEIGHT

    # Time (kernel/sched/time.py)
    time_offset_seconds: u32

    # Events, grants (kernel/evtchn/channel.py, kernel/grant/)
    event_lock: SpinLock
    evtchn: EvtchnTable
    grant: GrantTable

    # Emulation (kernel/emulate/ioport.py)
    pci_cf8: Tainted[u32]  # the PCI configuration address that it wrote last


assert sizeof(Domain) <= 4096


@struct
class DomainTable:
    """Every domain that is not freed. The lock guards the links, not what is in the domains."""

    lock: SpinLock
    nr_domains: u32
    last_id: u32  # id that was given out last
    buckets: Array[Ptr[Domain] | None, HASH_BUCKETS]
    first: Ptr[Domain] | None  # list by rising id
    buried: Ptr[Domain] | None  # not in the table any more, to be freed


domain_table = static(DomainTable)
crash_handlers = {}  # filled by kernel.domain.shutdown, which imports this module
crash_handler = static(Array[Fn[[Ptr[Domain], Slice[u8]], None] | None, 1], crash_handlers)
dom0 = static(Ptr[Domain] | None)


@inline
def put_domain(domain: Ptr[Domain]) -> None:
    """Give a reference back.

    The last one makes the domain wait for `kernel.domain.free`, never frees it at once.
    """
    if atomic_sub(ref(domain.refcount), 1) == 1:
        bury(domain)


@noinline
def bury(domain: Ptr[Domain]) -> None:
    """Take a domain without references out of the table and hand it to `kernel.domain.free`."""
    with domain_table.lock:
        unlink_domain(domain)
        domain.list_next = domain_table.buried
        domain_table.buried = domain


@gives_back(put_domain)
def get_domain_by_id(domain_id: Tainted[DomId]) -> Ptr[Domain] | None:
    """Return a domain with a reference that the caller gives back by `put_domain`.

    None when there is none.
    """
    with domain_table.lock:
        domain = find_domain(domain_id)
        if domain is not None and try_get_domain(domain):
            return domain
    return None


@gives_back(put_domain)
def get_domain_or_self(caller: Ptr[Domain], domain_id: Tainted[u16]) -> Ptr[Domain] | None:
    """Return the domain that a guest names, DOMID_SELF being the caller, with a reference."""
    if domain_id == abi.DOMID_SELF:
        get_domain(caller)
        return caller
    return get_domain_by_id(DomId(domain_id))


@gives_back(put_domain)
def first_domain_from(domain_id: Tainted[DomId]) -> Ptr[Domain] | None:
    """Return the domain with the lowest id of at least `domain_id`, with a reference."""
    with domain_table.lock:
        domain = domain_table.first
        while domain is not None:
            if domain.domain_id >= domain_id and try_get_domain(domain):
                return domain
            domain = domain.list_next
    return None


def domain_by_id_exists(domain_id: Tainted[DomId]) -> bool:
    """Say whether an id is in use, be it by a dying domain."""
    with domain_table.lock:
        return find_domain(domain_id) is not None


@inline
def find_domain(domain_id: Tainted[DomId]) -> Ptr[Domain] | None:
    """Look a domain up. Locks: the table's, held."""
    domain = domain_table.buckets[u64(domain_id) % HASH_BUCKETS]
    while domain is not None:
        if domain.domain_id == domain_id:
            return domain
        domain = domain.hash_next
    return None


@inline
def get_domain(domain: Ptr[Domain]) -> None:
    """Take one more reference to a domain that cannot go away meanwhile."""
    atomic_add(ref(domain.refcount), 1)


@inline
def try_get_domain(domain: Ptr[Domain]) -> bool:
    """Take a reference unless the last one is gone.

    Locks: the table's, held, which keeps the domain from being freed.
    """
    if atomic_add(ref(domain.refcount), 1) != 0:
        return True
    atomic_sub(ref(domain.refcount), 1)
    return False


@cold
def domain_crash(domain: Ptr[Domain], reason: Slice[u8]) -> None:
    """Stop a domain for good because of what it did; says why on the console.

    The caller returns as from a failed operation.

    Locks: takes the domain's shutdown_lock and the event lock of domain 0, so none inside those may
    be held.
    """
    handler = crash_handler[0]
    assert handler is not None, "kernel.domain.shutdown is not part of the program"
    handler(domain, reason)
