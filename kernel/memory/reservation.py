"""Memory operations that give frames to a domain or take them away, extent by extent.

They return the number of extents done, never an error: a bad argument does no extent.
"""

import abi
from kpy import (
    Guest,
    Ptr,
    Tainted,
    clz,
    i64,
    noinline,
    ref,
    require,
    store,
    struct,
    truncate,
    trusted,
    u32,
    u64,
    uninitialized,
    wrapping_add,
)

from kernel.base.guest_memory import copy_from_guest, copy_to_guest, guest_array_okay
from kernel.base.ids import Mfn
from kernel.frames.allocation import enter_frames, take_domain_frames
from kernel.frames.frame import give_up_frame
from kernel.frames.m2p import set_m2p_block
from kernel.memory.operations import MAX_EXTENTS, MEMOP_EXTENT_SHIFT, memory_op
from kernel.paging.foreign import may_act_on
from kernel.state.continuation import hypercall_continue
from kernel.state.domain import Domain, get_domain_or_self
from kernel.state.frame_table import max_page
from kernel.state.vcpu import Vcpu
from kernel.x86.preempt import preempt_pending

EXTENTS_PER_LOOK = 16
DOMU_MAX_ORDER = 9  # Xen's defaults for the largest extent that a domain may ask for
DOM0_MAX_ORDER = 18
STOPPED = 1 << 63  # in a count of extents: more are to be done


@memory_op(abi.XENMEM_populate_physmap)
def memory_populate_physmap(
    v: Ptr[Vcpu], arg: Guest[abi.xen_memory_reservation], start: Tainted[u64]
) -> i64:
    """Allocate extents for a domain and make them its pages of the listed numbers; the list
    receives the frames.
    """
    return change_reservation(v, arg, start, abi.XENMEM_populate_physmap)


@memory_op(abi.XENMEM_increase_reservation)
def memory_increase_reservation(
    v: Ptr[Vcpu], arg: Guest[abi.xen_memory_reservation], start: Tainted[u64]
) -> i64:
    """Allocate extents for a domain; the list, if there is one, receives the frames."""
    return change_reservation(v, arg, start, abi.XENMEM_increase_reservation)


@memory_op(abi.XENMEM_decrease_reservation)
def memory_decrease_reservation(
    v: Ptr[Vcpu], arg: Guest[abi.xen_memory_reservation], start: Tainted[u64]
) -> i64:
    """Give the listed frames of a domain up."""
    return change_reservation(v, arg, start, abi.XENMEM_decrease_reservation)


@struct
class Extents:
    """A reservation whose numbers were checked."""

    list: Guest[abi.xen_pfn_t]
    nr: u64
    order: u32
    address_bits: u32  # of the machine's memory; 0: all of it will do


@noinline
def change_reservation(
    v: Ptr[Vcpu], arg: Guest[abi.xen_memory_reservation], start: Tainted[u64], operation: u64
) -> i64:
    """Decode a reservation and serve its extents from `start` on.

    Returns: extents done, or -ERESTART.
    """
    request = uninitialized(Tainted[abi.xen_memory_reservation])
    nothing = trusted(truncate(i64, start))  # 58 bits of the command
    require(copy_from_guest(ref(request), arg), nothing)
    extents = uninitialized(Extents)
    require(is_reservation_okay(v.domain, ref(request), operation, ref(extents)), nothing)
    require(start < extents.nr, nothing)
    done = start
    with get_domain_or_self(v.domain, request.domid) as d:
        require(d is not None and may_act_on(v.domain, d.domain_id), nothing)
        done = serve_extents(d, ref(extents), start, operation)
    if done & STOPPED:
        done &= ~STOPPED
        return hypercall_continue(v, operation | done << MEMOP_EXTENT_SHIFT, arg.address(), 0, 0)
    return i64(done)


def is_reservation_okay(
    caller: Ptr[Domain],
    request: Ptr[Tainted[abi.xen_memory_reservation]],
    operation: u64,
    to: Ptr[Extents],
) -> bool:
    """Check what a reservation asks for: the number and size of extents, the address limit, the
    list. What was checked goes `to` the extents.
    """
    nr, order, bits = request.nr_extents, request.extent_order, request.mem_flags & 0xFF
    require(nr <= MAX_EXTENTS and order <= max_order(caller), False)
    require(request.mem_flags & abi.XENMEMF_populate_on_demand == 0, False)
    require(bits == 0 or bits > 12 or operation == abi.XENMEM_decrease_reservation, False)
    require(guest_array_okay(request.extent_start, nr), False)
    store(
        to,
        Extents(list=request.extent_start, nr=nr, order=order, address_bits=address_limit(bits)),
    )
    return True


def max_order(d: Ptr[Domain]) -> u32:
    """Return the largest order of extents that a domain may ask for."""
    return DOM0_MAX_ORDER if d.is_privileged else DOMU_MAX_ORDER


def address_limit(bits: u32) -> u32:
    """Return the address bits that XENMEMF_* flags allow; 0 when all memory is within them."""
    machine_bits = truncate(u32, 64 - clz(max_page - 1)) + 12
    return bits if bits < machine_bits else 0


def serve_extents(d: Ptr[Domain], extents: Ptr[Extents], start: u64, operation: u64) -> u64:
    """Serve extents until one can't be.

    Returns: how many are done, with STOPPED if only because there is more urgent work.
    """
    for i in range(start, extents.nr):
        if i != start and is_time_to_look(i, extents.order) and preempt_pending():
            return i | STOPPED
        done = False
        if operation == abi.XENMEM_decrease_reservation:
            done = remove_extent(d, extents, i)
        else:
            done = add_extent(d, extents, i, operation == abi.XENMEM_populate_physmap)
        if not done:
            return i
    return extents.nr


def is_time_to_look(i: u64, order: u32) -> bool:
    """Say whether enough extents were served since the last look for more urgent work."""
    return order >= 4 or i % EXTENTS_PER_LOOK == 0


def add_extent(d: Ptr[Domain], extents: Ptr[Extents], i: u64, has_pfn: bool) -> bool:
    """Allocate extent `i` and tell its frame; with `has_pfn` the list says which page it becomes.

    Returns: whether all went well.
    """
    entry = extents.list.index(i)
    wants_frame = extents.list.address() != 0
    pfn: Tainted[u64] = 0
    require(not has_pfn or copy_from_guest(ref(pfn), entry), False)
    mfn = take_domain_frames(d, extents.order, extents.address_bits)
    require(mfn is not None, False)
    if has_pfn:
        set_m2p_block(mfn, extents.order, pfn)
    require(enter_frames(d, mfn, u32(1) << extents.order), False)
    number = u64(mfn)
    return not (has_pfn or wants_frame) or copy_to_guest(entry, ref(number))


def remove_extent(d: Ptr[Domain], extents: Ptr[Extents], i: u64) -> bool:
    """Give up the frames of extent `i`. Those that are still mapped go when they aren't any more.

    Returns: whether all went well.
    """
    first: Tainted[u64] = 0
    require(copy_from_guest(ref(first), extents.list.index(i)), False)
    for j in range(u64(1) << u64(extents.order)):
        mfn = Mfn(trusted(wrapping_add(first, j)))  # give_up_frame takes any number
        require(give_up_frame(mfn, d), False)
    return True
