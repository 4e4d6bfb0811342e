"""Grants: let another domain use a page of ours. Source: Xen public ABI, grant_table.h (v1)."""

import abi
from kpy import (
    Array,
    Guest,
    atomic_cas,
    barrier,
    panic,
    ref,
    static,
    u16,
    u32,
    u64,
    volatile_load,
    volatile_store,
)

from libos.hypercall import grant_table_op
from libos.layout import GRANT_FRAMES, PAGE_SIZE, Mfn, pfn_of
from libos.memory import map_shared_page, mfn_of

NR_GRANTS = GRANT_FRAMES * PAGE_SIZE // 8
FIRST_USABLE = abi.GNTTAB_NR_RESERVED_ENTRIES
NR_USABLE = NR_GRANTS - FIRST_USABLE
IN_USE = abi.GTF_reading | abi.GTF_writing

grant_table = static(Array[abi.grant_entry_v1, NR_GRANTS], extern=True, symbol="grant_table")
frames = static(Array[u64, GRANT_FRAMES])
last_given = static(u64)  # the search goes on from here, so giving many at once is quick


def init_grants() -> None:
    """Ask for the table's frames and map them."""
    setup = abi.gnttab_setup_table(dom=abi.DOMID_SELF, nr_frames=GRANT_FRAMES)
    setup.frame_list = Guest[u64](u64(ref(frames)))
    assert grant_table_op(abi.GNTTABOP_setup_table, ref(setup)) == 0
    assert setup.status == abi.GNTST_okay
    for i in range(GRANT_FRAMES):
        map_shared_page(u64(ref(grant_table)) + i * PAGE_SIZE, Mfn(frames[i]))


def grant_access(domid: u16, address: u64, is_read_only: bool) -> u32:
    """Let a domain map or copy the page at `address`.

    Returns: the grant reference to tell it.
    """
    global last_given
    for i in range(NR_USABLE):
        reference = FIRST_USABLE + (last_given + 1 + i) % NR_USABLE
        entry = ref(grant_table[reference])
        if volatile_load(ref(entry.flags)) == abi.GTF_invalid:
            last_given = reference - FIRST_USABLE
            entry.domid = domid
            entry.frame = u32(u64(mfn_of(pfn_of(address))))
            barrier()  # the flags make it valid, so they come last
            read_only: u16 = abi.GTF_readonly if is_read_only else 0
            volatile_store(ref(entry.flags), abi.GTF_permit_access | read_only)
            return u32(reference)
    panic("out of grant references")


def end_access(reference: u32) -> bool:
    """Take a grant back.

    Returns: False when the other domain still has the page mapped: it must not be used for anything
    else then.
    """
    entry = ref(grant_table[reference])
    while True:
        flags = volatile_load(ref(entry.flags))
        if flags & IN_USE != 0:
            return False
        _, done = atomic_cas(ref(entry.flags), flags, u16(abi.GTF_invalid))
        if done:
            return True
