"""XENMEM_exchange: give frames, get as many others, of another extent size or below an address
limit.

Extents are exchanged in *chunks*, the smallest pieces that are whole extents on both sides. The
frames of a chunk are first taken from the domain, possible only while nothing maps them; when the
new ones are there, the chunk can't fail any more, and otherwise the domain gets the old ones back.
Frames between two owners are linked by `next` and can't be referenced.
Source: Xen public ABI, memory.h, xen_memory_exchange.
"""

import abi
from kpy import (
    Guest,
    Ptr,
    Tainted,
    i64,
    offsetof,
    ok,
    ref,
    require,
    struct,
    trusted,
    u32,
    u64,
    wrapping_add,
)

from kernel.base.guest_memory import copy_from_guest, copy_to_guest, guest_array_okay
from kernel.base.ids import Mfn
from kernel.frames.exchange import (
    assign_block,
    free_block,
    free_stolen_frame,
    pop,
    push,
    return_stolen_frame,
    steal_frame,
    take_unowned,
)
from kernel.frames.m2p import set_m2p_block
from kernel.memory.operations import memory_op
from kernel.memory.reservation import address_limit, max_order
from kernel.paging.foreign import may_act_on
from kernel.state.continuation import hypercall_continue
from kernel.state.domain import Domain, get_domain_or_self
from kernel.state.frame_table import FrameLink
from kernel.state.vcpu import Vcpu
from kernel.x86.preempt import preempt_pending


@struct
class Exchange:
    """One call: the request, what was checked of it, and the chunk in work."""

    request: Tainted[abi.xen_memory_exchange]
    nr_extents: u64  # on the input side
    nr_exchanged: u64  # by earlier calls
    in_order: u32
    out_order: u32
    in_per_chunk: u64  # extents
    out_per_chunk: u64
    stolen: FrameLink | None  # frames of the chunk, chained
    taken: FrameLink | None  # blocks of the chunk, chained by their first frames


@memory_op(abi.XENMEM_exchange)
def memory_exchange(v: Ptr[Vcpu], arg: Guest[abi.xen_memory_exchange]) -> i64:
    """Exchange extents of a domain's memory.

    Errors: -EFAULT, the structure or a list; -EPERM, extents too large, or another domain's;
    -EINVAL, sizes that don't match, or a frame that is not the domain's or in use; -ESRCH; -ENOMEM.
    `nr_exchanged` tells how many input extents were exchanged.
    """
    x = Exchange()
    require(copy_from_guest(ref(x.request), arg), -abi.EFAULT)
    result = exchange(v, ref(x))
    at = wrapping_add(arg.address(), offsetof(abi.xen_memory_exchange, "nr_exchanged"))
    require(copy_to_guest(Guest[u64](at), ref(x.request.nr_exchanged)), -abi.EFAULT)
    if result == -abi.ERESTART:
        return hypercall_continue(v, abi.XENMEM_exchange, arg.address(), 0, 0)
    return result


def exchange(v: Ptr[Vcpu], x: Ptr[Exchange]) -> i64:
    """Check a request and do what is left of it. Errors: as `memory_exchange`; -ERESTART."""
    ok(check_exchange(v, x))
    require(x.nr_exchanged < x.nr_extents, 0)
    with get_domain_or_self(v.domain, x.request.in_.domid) as d:
        require(d is not None, -abi.ESRCH)
        require(may_act_on(v.domain, d.domain_id), -abi.EPERM)
        return exchange_all(d, x)


def check_exchange(v: Ptr[Vcpu], x: Ptr[Exchange]) -> i64:
    """Check that both sides of a request fit, and find the chunk size.

    Errors: -EPERM, -EINVAL, -EFAULT, as `memory_exchange`.
    """
    given = ref(x.request.in_)
    wanted = ref(x.request.out)
    limit = max_order(v.domain)
    in_order, out_order = given.extent_order, wanted.extent_order
    require(in_order <= limit and out_order <= limit, -abi.EPERM)
    nr_in, nr_out, done = given.nr_extents, wanted.nr_extents, x.request.nr_exchanged
    most = ~u64(0)
    require(given.domid == wanted.domid, -abi.EINVAL)
    require(nr_in <= most >> in_order and nr_out <= most >> out_order, -abi.EINVAL)
    require(done <= nr_in and nr_in << in_order == nr_out << out_order, -abi.EINVAL)
    require(guest_array_okay(given.extent_start, nr_in), -abi.EFAULT)
    require(guest_array_okay(wanted.extent_start, nr_out), -abi.EFAULT)
    x.nr_extents, x.nr_exchanged = nr_in, done
    x.in_order, x.out_order = in_order, out_order
    larger = max(in_order, out_order)
    x.in_per_chunk = u64(1) << (larger - in_order)
    x.out_per_chunk = u64(1) << (larger - out_order)
    return 0


def exchange_all(d: Ptr[Domain], x: Ptr[Exchange]) -> i64:
    """Exchange chunk after chunk.

    Errors: as `memory_exchange`; -ERESTART, more urgent work waits.
    """
    first = x.nr_exchanged // x.in_per_chunk
    count = x.nr_extents // x.in_per_chunk
    for chunk in range(first, count):
        require(chunk == first or not preempt_pending(), -abi.ERESTART)
        ok(exchange_chunk(d, x, chunk))
        x.request.nr_exchanged = (chunk + 1) * x.in_per_chunk
    return 0


def exchange_chunk(d: Ptr[Domain], x: Ptr[Exchange], chunk: u64) -> i64:
    """Exchange one chunk, or nothing of it.

    An output list that can't be written is reported after the fact, as on Xen.
    """
    x.stolen = None
    x.taken = None
    result = steal_chunk(d, x, chunk)
    if result == 0:
        result = take_chunk(x)
    if result != 0:
        undo_chunk(d, x)
        return result
    mfn = pop(ref(x.stolen))
    while mfn is not None:
        free_stolen_frame(d, mfn)
        mfn = pop(ref(x.stolen))
    return give_chunk(d, x, chunk)


def steal_chunk(d: Ptr[Domain], x: Ptr[Exchange], chunk: u64) -> i64:
    """Take the input frames of a chunk from the domain.

    Errors: -EFAULT, the list; -EINVAL, a frame is not its, or in use.
    """
    given = ref(x.request.in_)
    for i in range(x.in_per_chunk):
        first: Tainted[u64] = 0
        require(
            copy_from_guest(ref(first), given.extent_start.index(chunk * x.in_per_chunk + i)),
            -abi.EFAULT,
        )
        for j in range(u64(1) << x.in_order):
            mfn = Mfn(trusted(wrapping_add(first, j)))  # steal_frame takes any number
            require(steal_frame(d, mfn), -abi.EINVAL)
            push(ref(x.stolen), mfn)
    return 0


def take_chunk(x: Ptr[Exchange]) -> i64:
    """Take the output frames of a chunk from the heap. Errors: -ENOMEM."""
    wanted = ref(x.request.out)
    for _ in range(x.out_per_chunk):
        mfn = take_unowned(x.out_order, address_limit(wanted.mem_flags & 0xFF))
        require(mfn is not None, -abi.ENOMEM)
        push(ref(x.taken), mfn)
    return 0


def undo_chunk(d: Ptr[Domain], x: Ptr[Exchange]) -> None:
    """Give the domain its frames back, and the heap its."""
    mfn = pop(ref(x.stolen))
    while mfn is not None:
        return_stolen_frame(d, mfn)
        mfn = pop(ref(x.stolen))
    block = pop(ref(x.taken))
    while block is not None:
        free_block(block, x.out_order)
        block = pop(ref(x.taken))


def give_chunk(d: Ptr[Domain], x: Ptr[Exchange], chunk: u64) -> i64:
    """Make the new frames the domain's, as pages of the numbers in the output list.

    Errors: -EFAULT, the list; -EINVAL, the domain began to die; all else is done.
    """
    wanted = ref(x.request.out)
    result: i64 = 0
    for i in range(x.out_per_chunk):
        mfn = pop(ref(x.taken))
        assert mfn is not None, "a chunk has fewer blocks than extents"
        entry = wanted.extent_start.index(chunk * x.out_per_chunk + i)
        pfn: Tainted[u64] = 0
        number = u64(mfn)
        is_readable = copy_from_guest(ref(pfn), entry)
        if is_readable:
            set_m2p_block(mfn, x.out_order, pfn)
        if not assign_block(d, mfn, x.out_order):
            result = -abi.EINVAL
        elif not is_readable or not copy_to_guest(entry, ref(number)):
            result = -abi.EFAULT
    return result
