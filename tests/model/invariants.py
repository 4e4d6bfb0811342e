"""What isolation is: statements that hold of the machine's memory whenever no processor is in the
core.

`check(machine)` recomputes all of them from scratch. Each function below is one statement; a
violation is an AssertionError that names what it found.
"""

from collections import Counter, defaultdict

from kernel.frames.frame import SCRUBBED
from kernel.frames.m2p import INVALID_M2P
from kernel.state.domain import DOMDYING_alive, DOMDYING_dead
from tests.model.memory import FIRST, NR_FRAMES
from tests.model.picture import (
    CORE_SLOTS,
    FRAME_ALLOCATED,
    FRAME_CORE,
    HAS_DEVICE,
    IS_READONLY,
    L1,
    L4,
    NONE,
    SEG_DESC,
    WRITABLE,
    WRITE,
    PGT_pinned,
    Picture,
    words_at,
)

DOM0 = 0
HOST_PINS, WRITE_PINS = (0, 8), (0, 16)  # shifts of counters in ActiveGrant.pin
USER = 4


def check(machine, handed_on=()):
    """Check every statement. `handed_on` are (domain id, frame) pairs: domain 0 mapped these frames
    of others into that domain's memory, as its right is. Returns: the picture that was looked at.
    """
    picture = Picture(machine)
    no_page_table_is_writable(picture)
    references_are_those_that_exist(picture)
    types_are_those_in_use(picture)
    mappings_are_owned_or_granted(picture, handed_on)
    grants_in_use_are_tracked(picture)
    every_frame_is_somewhere_once(picture)
    free_frames_are_forgotten(picture)
    domains_count_their_frames(picture)
    domains_are_kept_by_what_exists(picture)
    address_spaces_end_where_the_core_begins(picture)
    processors_hold_no_forbidden_translation(picture, handed_on)
    processors_walk_through_page_tables_only(picture)
    no_lock_is_held(picture)
    return picture


def no_page_table_is_writable(picture):
    """No frame is mapped writable anywhere while processors take it for a page table or descriptor
    table: who could write there would own the machine.
    """
    for entry in picture.l1_entries:
        if entry.value & WRITE:
            target = picture.frames[entry.mfn]
            is_special = target.is_table or (target.kind == SEG_DESC and target.type_count)
            assert not is_special, f"{entry} maps {target} writable"


def holders(picture):
    """Return all that holds a frame: (frame, as which type, what it is)."""
    if picture.holders is None:
        picture.holders = list(find_holders(picture))
    return picture.holders


def find_holders(picture):
    """Yield what `holders` returns."""
    for mfn, frame in picture.owned.items():
        if frame.info & FRAME_ALLOCATED:
            yield mfn, WRITABLE if mfn in picture.shared else NONE, "its owner"
        if frame.info & PGT_pinned:
            yield mfn, frame.kind, "a pin"
        if frame.is_partial:
            yield mfn, frame.kind, "work half done"
    for entry in picture.entries:
        if entry.level > L1:
            yield entry.mfn, entry.level - 1, entry
        elif entry.mfn in picture.frames:
            yield entry.mfn, WRITABLE if entry.value & WRITE else NONE, entry
    for domain in picture.domains.values():
        for mapping in picture.mappings(domain):
            if mapping.flags & HAS_DEVICE:
                yield mapping.mfn, NONE if mapping.flags & IS_READONLY else WRITABLE, mapping
    for v in picture.vcpus:
        yield from holders_of_vcpu(v)
    if picture.eoi_frame:
        yield picture.eoi_frame, WRITABLE, "the EOI bits"


def holders_of_vcpu(v):
    """Yield what a vCPU holds: its address spaces, descriptor tables, vcpu_info."""
    name = f"d{v.domain.domain_id}v{v.vcpu_id}"
    for mfn in (v.guest_table, v.guest_table_user):
        if mfn:
            yield mfn, L4, f"{name} cr3"
    for mfn in words_at(int(v.ref("gdt_frames")), 14) + words_at(int(v.ref("ldt_frames")), 16):
        if mfn:
            yield mfn, SEG_DESC, f"{name} descriptors"
    if v.old_guest_table:
        yield v.old_guest_table, NONE, f"{name} release to go on with"
    if v.vcpu_info_mfn:
        yield v.vcpu_info_mfn, WRITABLE, f"{name} vcpu_info"


def references_are_those_that_exist(picture):
    """A frame's reference count is the number of its users: page-table entries, pins, address
    spaces, its owner's allocation … One too few, and it is freed under somebody's feet; one too
    many, and it is lost.
    """
    counted = Counter(mfn for mfn, _, _ in holders(picture))
    recorded = {mfn: frame.references for mfn, frame in picture.frames.items() if frame.references}
    for mfn in differences(recorded, counted):
        users = [what for held, _, what in holders(picture) if held == mfn]
        raise AssertionError(f"{picture.frames.get(mfn, mfn)} has other users: {users}")


def types_are_those_in_use(picture):
    """A frame is used as one type at a time, and the type's count is the number of these users."""
    counted = Counter((mfn, kind) for mfn, kind, _ in holders(picture) if kind != NONE)
    typed = [frame for frame in picture.frames.values() if frame.type_count]
    recorded = {(frame.mfn, frame.kind): frame.type_count for frame in typed}
    for mfn, kind in differences(recorded, counted):
        uses = [f"{kind} by {what}" for held, kind, what in holders(picture) if held == mfn]
        raise AssertionError(f"{picture.frames[mfn]} (type {kind}) is used as {uses}")


def differences(recorded, counted):
    """Return the keys for which two tables of counts differ."""
    if recorded == counted:
        return []
    keys = recorded.keys() | counted.keys()
    return [key for key in keys if recorded.get(key, 0) != counted.get(key, 0)]


def mappings_are_owned_or_granted(picture, handed_on):
    """A domain maps its own frames, and frames of others as often as it has pinned their grants for
    it; domain 0 maps what it likes, and may hand that on.
    """
    pins, foreign = host_pins(picture), defaultdict(Counter)
    for entry in picture.l1_entries:
        user, owner = picture.frames[entry.table].owner, picture.frames[entry.mfn].owner
        if user not in (owner, DOM0) and (user, entry.mfn) not in handed_on:
            foreign[user, entry.mfn]["all"] += 1
            foreign[user, entry.mfn]["writable"] += bool(entry.value & WRITE)
    for (user, mfn), used in foreign.items():
        if picture.domains[user].is_dying == DOMDYING_alive:
            granted = pins[user, mfn]
            assert used["all"] <= granted["all"], f"d{user} maps {mfn:#x} {used}, granted {granted}"
            assert used["writable"] <= granted["writable"], f"d{user} may only read {mfn:#x}"


def host_pins(picture):
    """Return how often each domain may map each frame by grants, and how often writable."""
    pins = defaultdict(Counter)
    for domain in picture.domains.values():
        for grant in picture.grants(domain):
            writable = grant.pin & 0xFF
            pins[grant.domain_id, grant.mfn]["all"] += writable + (grant.pin >> 8 & 0xFF)
            pins[grant.domain_id, grant.mfn]["writable"] += writable
    return pins


def grants_in_use_are_tracked(picture):
    """A grant is in use exactly as often as some domain's maptrack table says."""
    tracked = defaultdict(Counter)
    for domain in picture.domains.values():
        for mapping in picture.mappings(domain):
            if mapping.domain_id in picture.domains:
                key = (mapping.domain_id, mapping.ref, mapping.mfn, domain.domain_id)
                readonly = 8 if mapping.flags & IS_READONLY else 0
                for flag, shift in ((2, 0), (HAS_DEVICE, 16)):
                    if mapping.flags & flag:
                        tracked[key][shift + readonly] += 1
    for domain in picture.domains.values():
        for grant in picture.grants(domain):
            key = (domain.domain_id, grant.number, grant.mfn, grant.domain_id)
            found = Counter(
                {s: grant.pin >> s & 0xFF for s in (0, 8, 16, 24) if grant.pin >> s & 0xFF}
            )
            assert tracked.pop(key, Counter()) == found, f"{grant} of d{domain.domain_id}"
    assert not tracked, f"mappings of grants that are not in use: {dict(tracked)}"


def every_frame_is_somewhere_once(picture):
    """Each frame is free, or the core's, or a domain's: free and used frames are all there are. So
    a domain that is gone has left nothing behind.
    """
    free, core, owned = picture.free, picture.core_pages, picture.owned
    assert picture.machine["kernel.frames.heap.nr_free"].value == len(free)
    for one, other in ((free, core), (free, owned), (core.keys(), owned)):
        for mfn in one & other.keys():
            raise AssertionError(f"{picture.frames[mfn]} is in two places; {core.get(mfn)}")
    for mfn in picture.frames.keys() - free - core.keys() - owned.keys():
        raise AssertionError(f"{picture.frames[mfn]} is lost")


def free_frames_are_forgotten(picture):
    """A free frame has no number in a guest, and is zero if the core believes that it is."""
    numbers = words_at(picture.memory.m2p, NR_FRAMES)
    for mfn in picture.free:
        assert numbers[mfn - FIRST] == INVALID_M2P, f"{picture.frames[mfn]} has a number"
        if picture.frames[mfn].owner == SCRUBBED:
            is_zero = picture.memory.page(mfn) == picture.memory.nothing
            assert is_zero, f"{picture.frames[mfn]} is not zero"


def domains_count_their_frames(picture):
    """A domain's list of frames and its counts are right, and within its limit."""
    for domain_id, domain in picture.domains.items():
        mine = [f for f in picture.owned.values() if f.owner == domain_id]
        ordinary = {f.mfn for f in mine if not f.info & FRAME_CORE}
        assert listed(picture, domain) == ordinary, f"d{domain_id}'s list of frames"
        assert domain.tot_pages == len(ordinary)
        assert domain.xenheap_pages == len(mine) - len(ordinary)


def listed(picture, domain):
    """Return the frames on a domain's two lists."""
    found = set()
    for mfn in (domain.first_frame, domain.relinquished_frame):
        previous = 0
        while mfn:
            frame = picture.frames[mfn]
            assert frame.previous == previous and mfn not in found, f"{frame} is badly linked"
            found.add(mfn)
            previous, mfn = mfn, frame.next
    return found


def domains_are_kept_by_what_exists(picture):
    """A domain's references are its own life's, and one for its frames; a dead one has nothing."""
    for domain in picture.domains.values():
        has_frames = domain.tot_pages + domain.xenheap_pages > 0
        expected = (domain.is_dying != DOMDYING_dead) + has_frames
        assert domain.refcount == expected, f"d{domain.domain_id} has {domain.refcount} references"
        if domain.is_dying == DOMDYING_dead:
            assert has_frames, f"d{domain.domain_id} is dead and still there"
            assert not picture.mappings(domain), f"d{domain.domain_id} still maps others' frames"
            assert domain.evtchn.nr_active == 1, f"d{domain.domain_id} has more than port 0"
            assert domain.grant.nr_frames == 0, f"d{domain.domain_id} has a grant table"
    assert picture.machine["kernel.state.domain.domain_table"].nr_domains == len(picture.domains)


def address_spaces_end_where_the_core_begins(picture):
    """In every L4 in force, the core's slots are the core's: no guest has a say in them."""
    template = picture.memory.page(picture.machine["kernel.x86.paging.core_l4"].value >> 12)
    for mfn, frame in picture.tables.items():
        if frame.kind == L4 and not frame.is_partial:
            l4, domain = picture.memory.page(mfn), picture.domains[frame.owner]
            for slot in CORE_SLOTS:
                expected = {template[slot]}
                if slot == 256:
                    expected.add(0)  # the machine-to-physical table may be hidden
                if slot == 260:
                    expected = {domain.perdomain_l3 << 12 | template[slot] & 0xFFF}
                assert l4[slot] in expected, f"slot {slot} of {frame} is {l4[slot]:#x}"


def processors_hold_no_forbidden_translation(picture, handed_on):
    """What a processor still has in its TLB gives a guest no more than its page tables may: no
    frame that is another's by now, and no writing to page tables. One that is idle flushes first if
    it was asked to.
    """
    for number, user, translations in usable(picture, picture.translations):
        for translation in translations:
            check_translation(picture, handed_on, user, number, translation)


def usable(picture, caches):
    """Yield (processor, domain on it, entries) for each processor's entries that it can use."""
    for number, entries in enumerate(caches):
        area = picture.machine["kernel.x86.percpu.cpu_by_id"](number)
        if entries and area.current is not None and not (area.is_lazy and area.flush_on_resume):
            yield number, area.current.domain.domain_id, entries


def check_translation(picture, handed_on, user, number, translation):
    """Check one translation that a processor holds while `user` runs there."""
    frame = picture.frames[translation.frame]
    what = f"processor {number}, d{user}: {translation.page:#x} leads to {frame}"
    if translation.is_writable:
        assert not frame.is_table, what
        assert not (frame.kind == SEG_DESC and frame.type_count), what
    assert translation.frame not in picture.core_pages, what
    if frame.references and user not in (DOM0, frame.owner):
        pins = host_pins(picture)[user, translation.frame]  # a rare case
        assert (user, translation.frame) in handed_on or pins["all"], what


def processors_walk_through_page_tables_only(picture):
    """An upper entry that a processor still has in its paging-structure caches leads to a page
    table of its level, or to what was one last and is nothing else by now: no guest has been able
    to write there since. It is the domain's own, or free but not yet clean.
    """
    for number, user, entries in usable(picture, picture.upper_entries):
        for entry in entries:
            frame = picture.frames[entry.table]
            what = f"processor {number}, d{user}: an upper entry leads to {frame} as L{entry.level}"
            if entry.table in picture.free:
                assert frame.owner != SCRUBBED, what
            elif entry.is_user:
                assert frame.kind == entry.level and frame.owner == user, what


def no_lock_is_held(picture):
    """Nobody is in the core, so every lock is free."""
    machine = picture.machine
    locks = {name: machine[name] for name in LOCKS}
    locks["kernel.sched.queue.run_queue"] = machine["kernel.sched.queue.run_queue"].lock
    locks["kernel.state.domain.domain_table"] = machine["kernel.state.domain.domain_table"].lock
    for domain in picture.domains.values():
        for name in ("shutdown_lock", "lock", "page_lock", "event_lock"):
            locks[f"d{domain.domain_id} {name}"] = getattr(domain, name)
        locks[f"d{domain.domain_id} grant.lock"] = domain.grant.lock
    for name, lock in locks.items():
        assert lock.owner == 0, f"{name} is held"


LOCKS = [
    "kernel.frames.heap.heap_lock",
    "kernel.control.domctl.domctl_lock",
    "kernel.irq.irq.irq_lock",
]
