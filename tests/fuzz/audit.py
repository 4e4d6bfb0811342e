"""The hottest of the invariants, compiled (kernel Python): who uses a frame, counted afresh from
page tables, pins, grants, vCPUs, TLBs and caches of upper entries, against what the frame table
says.

It says what `tests/model/invariants.py` says of the same things, a hundred times as quickly, and
less well: a violation here is looked at by that file when the program is replayed. It needs a
machine whose processors are all in guest mode or asleep.
"""

from kpy import Array, Ptr, fill, inline, ref, static, u16, u32, u64

from kernel.base.ids import DomId, Mfn
from kernel.frames.frame import (
    CORE_OWNER,
    FRAME_ALLOCATED,
    REFERENCE_MASK,
    SCRUBBED,
    Page,
    page_at,
)
from kernel.frames.page_type import (
    PGT_TYPE_SHIFT,
    TYPE_COUNT_MASK,
    PGT_partial,
    PGT_pinned,
    PGT_validated,
)
from kernel.irq.irq import eoi_map
from kernel.paging.tree_walk import CURSOR_MASK
from kernel.state.domain import Domain, DOMDYING_alive, domain_table, find_domain
from kernel.state.frame_table import Frame, frame_at, frame_valid
from kernel.state.grant_table import ACTIVE_PER_PAGE
from kernel.state.vcpu import Vcpu
from kernel.x86.bits import PTE_ADDRESS, PTE_PRESENT, PTE_WRITE
from kernel.x86.memlayout import DIRECTMAP_VIRT_START
from kernel.x86.percpu import cpu_by_id
from tests.model.memory import END, FIRST, NR_FRAMES
from tests.model.picture import CORE_SLOTS, HAS_DEVICE, IS_READONLY, SHARED_FRAMES_GIVEN
from tests.model.processors import NR_MODEL_CPUS, Translation, UpperEntry, cpus

NONE, L1, L4, SEG_DESC, WRITABLE = 0, 1, 4, 5, 7
HAS_HOST = 2  # GNTMAP_host_map
MOST_USERS = 16  # domains whose foreign mappings are counted
FIRST_CORE_SLOT, LAST_CORE_SLOT = CORE_SLOTS[0], CORE_SLOTS[-1]

references = static(Array[u32, NR_FRAMES])
types = static(Array[u32, NR_FRAMES])
foreign = static(Array[Array[u16, NR_FRAMES], 2 * MOST_USERS])  # all, then the writable ones
is_shared = static(Array[bool, NR_FRAMES])
audit_rights = static(bool, True)  # not where domain 0, which may map everything, is hostile


def audit() -> None:
    """Check that the counts of every frame are those of its users, and that nobody reaches what he
    must not.
    """
    forget()
    domain = domain_table.first
    while domain is not None:
        note_shared(domain)
        domain = domain.list_next
    for mfn in range(u64(FIRST), u64(END)):
        count_frame(mfn)
    domain = domain_table.first
    while domain is not None:
        count_maptrack(domain)
        for v in domain.vcpus:
            if v is not None:
                count_vcpu(v)
        domain = domain.list_next
    page = eoi_map
    if page is not None:
        hold(frame_number(u64(page)), WRITABLE)
    compare_counts()
    if audit_rights:
        audit_foreign()
        for number in range(u32(NR_MODEL_CPUS)):
            audit_tlb(number)


def forget() -> None:
    fill(references[:], 0)
    fill(types[:], 0)
    fill(is_shared[:], False)
    for counts in foreign:
        fill(counts[:], 0)


@inline
def frame_number(address: u64) -> u64:
    """Return the frame that an address of the core's is in."""
    return (address - DIRECTMAP_VIRT_START) >> 12


@inline
def kind_of(info: u64) -> u32:
    return u32(info >> PGT_TYPE_SHIFT)


@inline
def is_live_table(info: u64) -> bool:
    """Say whether processors may walk a frame."""
    return L1 <= kind_of(info) <= L4 and info & TYPE_COUNT_MASK != 0


def hold(mfn: u64, kind: u32) -> None:
    """Count a user of a frame, as some type."""
    if not frame_valid(Mfn(mfn)):
        assert kind in (NONE, WRITABLE), "a page table is no RAM"
        return
    references[mfn - FIRST] += 1
    if kind != NONE:
        types[mfn - FIRST] += 1
        assert kind_of(frame_at(Mfn(mfn)).info) == kind, "a frame is used as another type"


def note_shared(d: Ptr[Domain]) -> None:
    """Note the frames that the core writes to together with a domain."""
    for page in d.grant.shared:
        if page is not None:
            is_shared[frame_number(u64(page)) - FIRST] = True
    if u32(d.kill_phase) < SHARED_FRAMES_GIVEN:
        info = d.shared_info_mfn
        if info is not None:
            is_shared[u64(info) - FIRST] = True


def count_frame(mfn: u64) -> None:
    """Count what a frame's own line says, and what its entries hold if it is a page table."""
    frame = frame_at(Mfn(mfn))
    info = frame.info
    if info & REFERENCE_MASK != 0 and find_domain(frame.owner) is not None:
        if info & FRAME_ALLOCATED != 0:
            hold(mfn, WRITABLE if is_shared[mfn - FIRST] else NONE)
        if info & PGT_pinned != 0:
            hold(mfn, kind_of(info))
        if info & PGT_partial != 0:
            hold(mfn, kind_of(info))
    if is_live_table(info):
        count = u64(512) if info & PGT_validated != 0 else u64(frame.stamp & CURSOR_MASK)
        count_entries(page_at(Mfn(mfn)), frame, kind_of(info), count)


def count_entries(page: Ptr[Page], table: Ptr[Frame], level: u32, count: u64) -> None:
    """Count what the entries of a table hold."""
    for i in range(count):
        value = page[i]
        if value & PTE_PRESENT == 0:
            continue
        if level == L4 and FIRST_CORE_SLOT <= i <= LAST_CORE_SLOT:
            continue
        target = (value & PTE_ADDRESS) >> 12
        if level > L1:
            hold(target, level - 1)
        elif frame_valid(Mfn(target)):
            hold(target, WRITABLE if value & PTE_WRITE != 0 else NONE)
            note_mapping(table.owner, target, value & PTE_WRITE != 0)


@inline
def note_mapping(user: DomId, target: u64, writes: bool) -> None:
    """Count that a domain maps what is not its own."""
    if user != DomId(0) and user != frame_at(Mfn(target)).owner and u64(user) < MOST_USERS:
        foreign[u64(user)][target - FIRST] += 1
        if writes:
            foreign[u64(user) + MOST_USERS][target - FIRST] += 1


def count_maptrack(d: Ptr[Domain]) -> None:
    """Count the mappings that a domain holds for devices."""
    for i in range(d.grant.nr_maptrack_frames):
        directory = d.grant.maptrack[i // 512]
        if directory is None:
            return
        page = directory.pages[i % 512]
        if page is None:
            return
        for mapping in page.entries:
            if mapping.flags & HAS_DEVICE != 0:
                hold(u64(mapping.mfn), NONE if mapping.flags & IS_READONLY != 0 else WRITABLE)


def count_vcpu(v: Ptr[Vcpu]) -> None:
    """Count a vCPU's address spaces, descriptor tables and vcpu_info."""
    hold_if_any(v.guest_table, L4)
    hold_if_any(v.guest_table_user, L4)
    for mfn in v.gdt_frames:
        hold_if_any(mfn, SEG_DESC)
    for mfn in v.ldt_frames:
        hold_if_any(mfn, SEG_DESC)
    hold_if_any(v.old_guest_table, NONE)
    hold_if_any(v.vcpu_info_mfn, WRITABLE)


@inline
def hold_if_any(mfn: Mfn | None, kind: u32) -> None:
    if mfn is not None:
        hold(u64(mfn), kind)


def compare_counts() -> None:
    """Compare what was counted with what is recorded."""
    for i in range(u64(NR_FRAMES)):
        info = frame_at(Mfn(FIRST + i)).info
        assert info & REFERENCE_MASK == u64(references[i]), "a frame has other users than counted"
        assert (info & TYPE_COUNT_MASK) >> 32 == u64(types[i]), "a type has other users"


def audit_foreign() -> None:
    """Check that domains map frames of others only as often as they were granted to them."""
    domain = domain_table.first
    while domain is not None:
        take_granted(domain)
        domain = domain.list_next
    domain = domain_table.first
    while domain is not None:
        user = u64(domain.domain_id)
        if user < MOST_USERS and domain.is_dying == DOMDYING_alive:
            for i in range(u64(NR_FRAMES)):
                assert foreign[user][i] == 0, "a domain maps what nobody granted"
                assert foreign[user + MOST_USERS][i] == 0, "a domain writes what it may only read"
        domain = domain.list_next


def take_granted(d: Ptr[Domain]) -> None:
    """Strike out the foreign mappings that a domain's grants allow."""
    for page in d.grant.active:
        if page is None:
            return
        for i in range(u64(ACTIVE_PER_PAGE)):
            grant = ref(page.entries[i])
            user = u64(grant.domain_id)
            if grant.pin != 0 and user < MOST_USERS and frame_valid(grant.mfn):
                writers = u16(grant.pin & 0xFF)
                strike(user, grant.mfn, writers + u16(grant.pin >> 8 & 0xFF))
                strike(user + MOST_USERS, grant.mfn, writers)


@inline
def strike(row: u64, mfn: Mfn, allowed: u16) -> None:
    foreign[row][u64(mfn) - FIRST] -= min(allowed, foreign[row][u64(mfn) - FIRST])


def audit_tlb(number: u32) -> None:
    """Check what a processor may still use of what it has seen in page tables."""
    area = cpu_by_id(number)
    v = area.current
    if v is None or (area.is_lazy and area.flush_on_resume):
        return
    for translation in cpus[number].tlb:
        if translation.is_valid and translation.is_user:
            audit_translation(translation, v.domain.domain_id)
    for entry in cpus[number].upper:
        if entry.is_valid:
            audit_upper_entry(entry, v.domain.domain_id)


def audit_translation(translation: Ptr[Translation], user: DomId) -> None:
    """Check one translation that a processor holds while a domain runs there."""
    frame = frame_at(Mfn(translation.frame))
    info = frame.info
    if translation.is_writable:
        assert not is_live_table(info), "a processor can still write to a page table"
        is_special = kind_of(info) == SEG_DESC and info & TYPE_COUNT_MASK != 0
        assert not is_special, "a processor can still write to descriptors"
    if info & REFERENCE_MASK != 0 and user != DomId(0) and user != frame.owner:
        assert is_granted(translation.frame, user), "a processor still reaches another's frame"


def audit_upper_entry(entry: Ptr[UpperEntry], user: DomId) -> None:
    """Check where a processor may still walk to while a domain runs there."""
    frame = frame_at(Mfn(entry.table))
    if frame.info & REFERENCE_MASK == 0 and frame.owner != CORE_OWNER:
        assert frame.owner != SCRUBBED, "a processor can still walk to a clean frame"
    elif entry.is_user:
        is_so = kind_of(frame.info) == entry.level and frame.owner == user
        assert is_so, "a processor can still walk through what is no table of its level"


def is_granted(mfn: u64, user: DomId) -> bool:
    """Say whether anybody has granted a frame to a domain, which has it mapped."""
    domain = domain_table.first
    while domain is not None:
        for page in domain.grant.active:
            if page is None:
                break
            for i in range(u64(ACTIVE_PER_PAGE)):
                grant = ref(page.entries[i])
                is_it = u64(grant.mfn) == mfn and grant.domain_id == user
                if is_it and grant.pin & 0xFFFF != 0:
                    return True
        domain = domain.list_next
    return False
