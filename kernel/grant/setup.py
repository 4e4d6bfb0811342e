"""The grant table of a domain.

Its frames, which grow on demand, its size and its version, which is always 1.
"""

import abi
from kpy import Guest, Ptr, Tainted, i16, i32, i64, inline, ref, require, u32, u64, uninitialized

from kernel.base.guest_memory import copy_from_guest, copy_to_guest
from kernel.base.ids import Mfn, Vaddr
from kernel.frames.core_page import alloc_core_page, core_page_mfn, free_core_page, share_core_page
from kernel.state.domain import Domain, DOMDYING_alive, get_domain_or_self, put_domain
from kernel.state.grant_table import (
    ACTIVE_PAGES,
    ACTIVE_PER_PAGE,
    GRANTS_PER_FRAME,
    INITIAL_GRANT_FRAMES,
    MAPTRACK_DIRECTORIES,
    MAPTRACK_END,
    MAPTRACK_PAGES_PER_DIRECTORY,
    MAX_GRANT_FRAMES,
    MAX_MAPTRACK_FRAMES,
    ActivePage,
    SharedGrantPage,
)
from kernel.state.vcpu import Vcpu

ACTIVE_PAGES_PER_FRAME = GRANTS_PER_FRAME // ACTIVE_PER_PAGE
GRANT_VERSION = 1


def init_grant_table(d: Ptr[Domain], max_frames: i32, max_maptrack_frames: i32) -> bool:
    """Prepare a new domain's table with its first frame; a negative limit means the default.

    Returns: enough memory.
    """
    d.grant.max_frames = MAX_GRANT_FRAMES if max_frames < 0 else u32(max_frames)
    d.grant.max_maptrack_frames = (
        MAX_MAPTRACK_FRAMES if max_maptrack_frames < 0 else u32(max_maptrack_frames)
    )
    d.grant.maptrack_free = MAPTRACK_END
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
    """Return a frame of a domain's table, which grows for it; None where it cannot.

    Locks: takes the grant lock.
    """
    with d.grant.lock:
        if index >= d.grant.max_frames or not grow(d, index + 1):
            return None
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


def setup_table(vcpu: Ptr[Vcpu], arg: Guest[abi.gnttab_setup_table], count: u32) -> i64:
    """Give a table some frames, and list them. Serves GNTTABOP_setup_table.

    Errors: -EINVAL, not one structure; -EFAULT. In `status`: bad_domain; permission_denied;
    general_error, more frames than allowed or than there is memory; bad_virt_addr, the list.
    """
    require(count == 1, -abi.EINVAL)
    op = uninitialized(Tainted[abi.gnttab_setup_table])
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    d = get_domain_or_self(vcpu.domain, op.dom)
    op.status = abi.GNTST_bad_domain
    if d is not None:
        op.status = abi.GNTST_permission_denied
        if may_set_up(vcpu.domain, d):
            op.status = list_frames(d, op.frame_list, op.nr_frames)
        put_domain(d)
    return 0 if copy_to_guest(arg, ref(op)) else -abi.EFAULT


def list_frames(d: Ptr[Domain], to: Guest[u64], nr_frames: Tainted[u32]) -> i16:
    """Do the work of `setup_table`. Returns: GNTST_*."""
    with d.grant.lock:
        if nr_frames > d.grant.max_frames or not grow(d, nr_frames):
            return abi.GNTST_general_error
    for i in range(nr_frames):
        mfn = grant_frame(d, i)
        require(mfn is not None, abi.GNTST_general_error)  # the domain may have begun to die
        frame = u64(mfn)
        if not copy_to_guest(to.index(u64(i)), ref(frame)):
            return abi.GNTST_bad_virt_addr
    return abi.GNTST_okay


def query_size(vcpu: Ptr[Vcpu], arg: Guest[abi.gnttab_query_size], count: u32) -> i64:
    """Tell how many frames a table has, and may have. Serves GNTTABOP_query_size.

    Errors: -EINVAL, not one structure; -EFAULT. In `status`: bad_domain; permission_denied.
    """
    require(count == 1, -abi.EINVAL)
    op = uninitialized(Tainted[abi.gnttab_query_size])
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    d = get_domain_or_self(vcpu.domain, op.dom)
    op.status = abi.GNTST_bad_domain
    if d is not None:
        op.status = abi.GNTST_permission_denied
        if may_set_up(vcpu.domain, d):
            op.nr_frames = d.grant.nr_frames
            op.max_nr_frames = d.grant.max_frames
            op.status = abi.GNTST_okay
        put_domain(d)
    return 0 if copy_to_guest(arg, ref(op)) else -abi.EFAULT


def get_version(vcpu: Ptr[Vcpu], arg: Guest[abi.gnttab_get_version]) -> i64:
    """Tell the version of a table. Serves GNTTABOP_get_version.

    Errors: -EFAULT; -ESRCH, no such domain; -EPERM.
    """
    op = uninitialized(Tainted[abi.gnttab_get_version])
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    d = get_domain_or_self(vcpu.domain, op.dom)
    if d is None:
        return -abi.ESRCH
    allowed = may_set_up(vcpu.domain, d)
    put_domain(d)
    require(allowed, -abi.EPERM)
    op.version = GRANT_VERSION
    return 0 if copy_to_guest(arg, ref(op)) else -abi.EFAULT


def set_version(arg: Guest[abi.gnttab_set_version]) -> i64:
    """Choose the version. Serves GNTTABOP_set_version.

    Errors: -EFAULT; -EINVAL, no such version; -ENOSYS, version 2, which guests take as a hint to
    use version 1.
    """
    op = uninitialized(Tainted[abi.gnttab_set_version])
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    result: i64 = 0
    if op.version == 2:
        result = -abi.ENOSYS
    elif op.version != GRANT_VERSION:
        result = -abi.EINVAL
    op.version = GRANT_VERSION
    return result if copy_to_guest(arg, ref(op)) else -abi.EFAULT


def get_status_frames(vcpu: Ptr[Vcpu], arg: Guest[abi.gnttab_get_status_frames], count: u32) -> i64:
    """List the status frames, of which a table of version 1 has none.

    Serves GNTTABOP_get_status_frames.

    Errors: -EINVAL, not one structure; -EFAULT. In `status`: bad_domain; permission_denied;
    general_error, any are wanted.
    """
    require(count == 1, -abi.EINVAL)
    op = uninitialized(Tainted[abi.gnttab_get_status_frames])
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    d = get_domain_or_self(vcpu.domain, op.dom)
    op.status = abi.GNTST_bad_domain
    if d is not None:
        op.status = abi.GNTST_permission_denied
        if may_set_up(vcpu.domain, d):
            op.status = abi.GNTST_okay if op.nr_frames == 0 else abi.GNTST_general_error
        put_domain(d)
    return 0 if copy_to_guest(arg, ref(op)) else -abi.EFAULT


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
