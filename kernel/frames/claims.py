"""Claims: frames promised to a domain that is being built, so that a build which has begun cannot
run out of memory.

Only arithmetic: which frames it will be is not decided. Guarded by heap_lock.
"""

import abi
from kpy import Ptr, Tainted, i64, require, static, truncate, u32, u64

from kernel.frames.heap import heap_lock, nr_free
from kernel.state.domain import Domain, DOMDYING_alive

nr_claimed = static(u64)  # the sum of all domains' outstanding_pages


def claims_allow(d: Ptr[Domain], count: u32) -> bool:
    """Say whether `count` frames can be taken for a domain without touching what others were
    promised.

    Locks: heap_lock.
    """
    return nr_claimed + u64(count) <= nr_free or d.outstanding_pages >= count


def use_claim(d: Ptr[Domain], count: u32) -> None:
    """Count frames that a domain got against what it was promised. Locks: heap_lock."""
    global nr_claimed
    used = min(d.outstanding_pages, count)
    d.outstanding_pages -= used
    nr_claimed -= u64(used)


def set_claim(d: Ptr[Domain], nr_pages: Tainted[u64]) -> i64:
    """Promise a domain that it can come to own `nr_pages` in all; 0 takes the promise back.

    Errors: -EINVAL, it is dying, has a claim, owns as much already, or may not own so much;
    -ENOMEM, there is not enough.
    """
    global nr_claimed
    with heap_lock:
        if nr_pages == 0:
            nr_claimed -= u64(d.outstanding_pages)
            d.outstanding_pages = 0
            return 0
        require(d.is_dying == DOMDYING_alive and d.outstanding_pages == 0, -abi.EINVAL)
        require(u64(d.tot_pages) < nr_pages <= u64(d.max_pages), -abi.EINVAL)
        wanted = nr_pages - u64(d.tot_pages)
        require(nr_claimed + wanted <= nr_free, -abi.ENOMEM)
        d.outstanding_pages = truncate(u32, wanted)
        nr_claimed += wanted
    return 0
