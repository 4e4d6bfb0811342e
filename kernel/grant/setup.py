"""The grant table of a domain.

Its frames, which grow on demand, its size and its version, which is always 1.
"""

import abi
from kpy import (
    Guest,
    Ptr,
    Result,
    Tainted,
    i16,
    i32,
    i64,
    inline,
    ref,
    require,
    truncate,
    u32,
    u64,
    uninitialized,
)

from kernel.base.guest_memory import copy_from_guest, copy_to_guest
from kernel.base.ids import Mfn, Vaddr
from kernel.frames.core_page import alloc_core_page, core_page_mfn, free_core_page, share_core_page
from kernel.grant.operations import grant_table_op
from kernel.state.domain import Domain, DOMDYING_alive, get_domain_or_self
from kernel.state.grant_table import (
    ACTIVE_PAGES,
    ACTIVE_PER_PAGE,
    GRANTS_PER_FRAME,
    INITIAL_GRANT_FRAMES,
    MAPTRACK_DIRECTORIES,
    MAPTRACK_PAGES_PER_DIRECTORY,
    MAX_GRANT_FRAMES,
    MAX_MAPTRACK_FRAMES,
    ActivePage,
    SharedGrantPage,
)
from kernel.state.vcpu import Vcpu

ACTIVE_PAGES_PER_FRAME = GRANTS_PER_FRAME // ACTIVE_PER_PAGE
GRANT_VERSION = 1


def init_grant_table(
    d: Ptr[Domain], max_frames: Tainted[i32], max_maptrack_frames: Tainted[i32]
) -> bool:
    """Prepare a new domain's table with its first frame; a negative limit means the most.

    Returns: enough memory.
    """
    d.grant.max_frames = min(truncate(u32, max_frames), MAX_GRANT_FRAMES)
    d.grant.max_maptrack_frames = min(truncate(u32, max_maptrack_frames), MAX_MAPTRACK_FRAMES)
    d.grant.maptrack_free = None
    with d.grant.lock:
        return grow(d, INITIAL_GRANT_FRAMES)


def grow(d: Ptr[Domain], nr_frames: u32) -> bool:
    """Give a table at least so many frames.

    Returns: False, too little memory; or the domain is dying, and what its table got now might
    never be released. Locks: the grant lock, held.
    """
    while d.grant.nr_frames < nr_frames:
        if d.is_dying != DOMDYING_alive:
            return False
        if not add_frame(d, d.grant.nr_frames):
            return False
        d.grant.nr_frames += 1
    return True


def add_frame(d: Ptr[Domain], index: u32) -> bool:
    """Allocate one shared frame and its active entries.

    What a failure leaves is used by the next attempt.
    """
    for i in range(index * ACTIVE_PAGES_PER_FRAME, (index + 1) * ACTIVE_PAGES_PER_FRAME):
        if d.grant.active[i] is None:
            page = alloc_core_page()
            if page is None:
                return False
            # A fresh, zeroed core page: all its entries are unused
            d.grant.active[i] = Ptr[ActivePage](u64(page))
    shared = alloc_core_page()
    if shared is None:
        return False
    share_core_page(shared, d, True)
    # The guest writes this page too: its entries are read and changed by single atomic accesses
    # only
    d.grant.shared[index] = Ptr[SharedGrantPage](u64(shared))
    return True


def grant_frame(d: Ptr[Domain], index: u32) -> Mfn | None:
    """Return a frame that a domain may have, for which its table grows; None where it cannot.

    Locks: takes the grant lock.
    """
    with d.grant.lock:
        require(grow(d, index + 1), None)
        return shared_frame_mfn(d, index)


@inline
def shared_frame_mfn(d: Ptr[Domain], index: u32) -> Mfn:
    """Return the frame number of a shared frame that exists."""
    page = d.grant.shared[index]
    assert page is not None, "a grant table has lost a frame"
    return core_page_mfn(Vaddr(u64(page)))


@inline
def may_set_up(caller: Ptr[Domain], d: Ptr[Domain]) -> bool:
    """Tell whether a domain may see the frames of another's table."""
    return caller == d or caller.is_privileged


def status_of(caller: Ptr[Domain], d: Ptr[Domain] | None) -> i16:
    """Return GNTST_okay where a domain may see the frames of another's table.

    Returns: GNTST_bad_domain, there is none; GNTST_permission_denied, not the caller's to see.
    """
    if d is None:
        return abi.GNTST_bad_domain
    return abi.GNTST_okay if may_set_up(caller, d) else abi.GNTST_permission_denied


@grant_table_op(abi.GNTTABOP_setup_table, single=True)
def setup_table(vcpu: Ptr[Vcpu], op: Ptr[Tainted[abi.gnttab_setup_table]]) -> None:
    """Give a table some frames, and list them.

    In `status`: those of `status_of`; general_error, more frames than allowed or than there is
    memory; bad_virt_addr, the list.
    """
    with get_domain_or_self(vcpu.domain, op.dom) as d:
        op.status = status_of(vcpu.domain, d)
        if d is not None and op.status == abi.GNTST_okay:
            op.status = list_frames(d, op.frame_list, op.nr_frames)


def list_frames(d: Ptr[Domain], to: Guest[u64], nr_frames: Tainted[u32]) -> i16:
    """Do the work of `setup_table`. Returns: GNTST_*. Locks: takes the grant lock."""
    with d.grant.lock:
        require(nr_frames <= d.grant.max_frames, abi.GNTST_general_error)
        require(grow(d, nr_frames), abi.GNTST_general_error)
        for i in range(nr_frames):
            frame = u64(shared_frame_mfn(d, i))
            require(copy_to_guest(to.index(u64(i)), ref(frame)), abi.GNTST_bad_virt_addr)
    return abi.GNTST_okay


@grant_table_op(abi.GNTTABOP_query_size, single=True)
def query_size(vcpu: Ptr[Vcpu], op: Ptr[Tainted[abi.gnttab_query_size]]) -> None:
    """Tell how many frames a table has, and may have. In `status`: those of `status_of`."""
    with get_domain_or_self(vcpu.domain, op.dom) as d:
        op.status = status_of(vcpu.domain, d)
        if d is not None and op.status == abi.GNTST_okay:
            op.nr_frames = d.grant.nr_frames
            op.max_nr_frames = d.grant.max_frames


@grant_table_op(abi.GNTTABOP_get_version)
def get_version(vcpu: Ptr[Vcpu], arg: Guest[abi.gnttab_get_version]) -> Result[None]:
    """Tell the version of a table, however many structures there are said to be.

    Errors: -EFAULT; -ESRCH, no such domain; -EPERM.
    """
    op = uninitialized(Tainted[abi.gnttab_get_version])
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    with get_domain_or_self(vcpu.domain, op.dom) as d:
        require(d is not None, -abi.ESRCH)
        require(may_set_up(vcpu.domain, d), -abi.EPERM)
    op.version = GRANT_VERSION
    require(copy_to_guest(arg, ref(op)), -abi.EFAULT)


@grant_table_op(abi.GNTTABOP_set_version)
def set_version(arg: Guest[abi.gnttab_set_version]) -> i64:
    """Choose the version; the one in use is told, be it refused.

    Errors: -EFAULT; -EINVAL, no such version; -ENOSYS, version 2, which guests take as a hint to
    use version 1.
    """
    op = uninitialized(Tainted[abi.gnttab_set_version])
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    wanted = op.version
    op.version = GRANT_VERSION
    require(copy_to_guest(arg, ref(op)), -abi.EFAULT)
    require(wanted != 2, -abi.ENOSYS)
    require(wanted == GRANT_VERSION, -abi.EINVAL)
    return 0


@grant_table_op(abi.GNTTABOP_get_status_frames, single=True)
def get_status_frames(vcpu: Ptr[Vcpu], op: Ptr[Tainted[abi.gnttab_get_status_frames]]) -> None:
    """List the status frames, of which a table of version 1 has none.

    In `status`: those of `status_of`; general_error, any are wanted.
    """
    with get_domain_or_self(vcpu.domain, op.dom) as d:
        op.status = status_of(vcpu.domain, d)
        if op.status == abi.GNTST_okay and op.nr_frames != 0:
            op.status = abi.GNTST_general_error


def release_shared_frames(d: Ptr[Domain]) -> None:
    """Give up the shared frames of a dying domain; each is free once its last mapping goes."""
    with d.grant.lock:
        for i in range(MAX_GRANT_FRAMES):
            page = d.grant.shared[i]
            if page is not None:
                d.grant.shared[i] = None
                free_core_page(Vaddr(u64(page)))
        d.grant.nr_frames = 0


def free_grant_table(d: Ptr[Domain]) -> None:
    """Free what the core kept about a table. Context: the domain has no references."""
    for i in range(ACTIVE_PAGES):
        page = d.grant.active[i]
        if page is not None:
            free_core_page(Vaddr(u64(page)))
    for i in range(MAPTRACK_DIRECTORIES):
        directory = d.grant.maptrack[i]
        if directory is not None:
            for j in range(MAPTRACK_PAGES_PER_DIRECTORY):
                entries = directory.pages[j]
                if entries is not None:
                    free_core_page(Vaddr(u64(entries)))
            free_core_page(Vaddr(u64(directory)))
