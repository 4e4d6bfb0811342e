"""The machine's memory, read afresh: what the core has written down, for the invariants to compare.

Nothing here is kept from one step to the next, and none of the core's functions is called.
"""

import ctypes
import struct
from collections import namedtuple
from functools import cached_property

from kpy.front.structs import size_of
from kpy.jit.memory import View

from kernel.frames.frame import CORE_OWNER, FRAME_ALLOCATED, FRAME_CORE
from kernel.frames.heap import FRAME_FREE, NR_ZONES
from kernel.frames.page_type import PGT_partial, PGT_pinned, PGT_validated
from kernel.paging.tree_walk import CURSOR_MASK
from kernel.state.grant_table import ACTIVE_PER_PAGE, MAPTRACK_PER_PAGE
from kernel.state.vcpu import Vcpu
from tests.model.memory import FIRST, NR_BOOT_FRAMES, NR_FRAMES, PAGE
from tests.model.processors import NR_MODEL_CPUS, NR_TRANSLATIONS, NR_UPPER_ENTRIES, Cpu

REFERENCES = (1 << 28) - 1
TYPE_COUNT = (1 << 26) - 1
NONE, L1, L2, L3, L4, SEG_DESC, WRITABLE = 0, 1, 2, 3, 4, 5, 7
PRESENT, WRITE = 1, 2
ADDRESS = 0x000FFFFFFFFFF000
CORE_SLOTS = range(256, 272)
HAS_DEVICE, IS_READONLY = 1, 4  # GNTMAP_device_map, GNTMAP_readonly

Entry = namedtuple("Entry", "table index value level mfn")
Grant = namedtuple("Grant", "number mfn pin domain_id")
Translation = namedtuple("Translation", "page frame is_valid is_writable is_user")
UpperEntry = namedtuple("UpperEntry", "part table level is_valid is_writable is_user")
Mapping = namedtuple("Mapping", "handle mfn ref flags domain_id")


class Frame(namedtuple("Frame", "mfn info owner order flags next previous stamp")):
    """A line of the frame table."""

    @property
    def references(self):
        return self.info & REFERENCES

    @property
    def kind(self):
        return self.info >> 61

    @property
    def type_count(self):
        return self.info >> 32 & TYPE_COUNT

    @property
    def is_partial(self):
        return bool(self.info & PGT_partial)

    @property
    def is_table(self):
        """Whether processors may walk it: a table that counts, validated or not yet wholly."""
        return L1 <= self.kind <= L4 and self.type_count > 0


def words_at(address, count):
    """Return 64-bit words of this process's memory."""
    return list((ctypes.c_uint64 * count).from_address(address))


class Picture:
    """Everything that the invariants ask for; each part is read when it is first wanted."""

    def __init__(self, machine):
        self.machine, self.memory = machine, machine.memory
        self.holders = None  # found by the invariants

    @cached_property
    def frames(self):
        """The frame table, by frame number."""
        data = ctypes.string_at(self.memory.frame_table, NR_FRAMES * 24)
        lines = struct.iter_unpack("<QHBBIII", data)
        return {mfn: Frame(mfn, *line) for mfn, line in enumerate(lines, FIRST)}

    @cached_property
    def domains(self):
        """All domains of the core's table, dying ones included, by id."""
        return {domain.domain_id: domain for domain in self.machine.alive()}

    @cached_property
    def vcpus(self):
        """All their vCPUs."""
        return [
            View(Vcpu, address)
            for domain in self.domains.values()
            for address in words_at(int(domain.ref("vcpus")), len(domain.vcpus))
            if address
        ]

    @cached_property
    def owned(self):
        """Frames that count as some domain's, core pages that it may map included."""
        return {
            mfn: frame
            for mfn, frame in self.frames.items()
            if frame.references and frame.owner in self.domains
        }

    @cached_property
    def free(self):
        """Frames on the free lists."""
        found = set()
        for position, head in enumerate(words_of(self.machine["kernel.frames.heap.heads"], "I")):
            order, mfn = position // NR_ZONES, head
            while mfn:
                frame, block = self.frames[mfn], range(mfn, mfn + (1 << order))
                assert frame.info == FRAME_FREE and frame.order == order, f"{frame} is no block"
                assert found.isdisjoint(block), f"{frame} is free twice"
                found.update(block)
                mfn = frame.next
        return found

    @cached_property
    def tables(self):
        """Page tables that hold references, by frame number."""
        return {mfn: frame for mfn, frame in self.frames.items() if frame.is_table}

    @cached_property
    def entries(self):
        """Every entry that holds references: all of a validated table, those that the walk has
        done in a partial one.
        """
        found = []
        for mfn, frame in self.tables.items():
            count = 512 if frame.info & PGT_validated else frame.stamp & CURSOR_MASK
            cores = CORE_SLOTS if frame.kind == L4 else ()
            for index, value in enumerate(self.memory.page(mfn).tolist()):
                if value and value & PRESENT and index < count and index not in cores:
                    target = (value & ADDRESS) >> 12
                    found.append(Entry(mfn, index, value, frame.kind, target))
        return found

    @cached_property
    def l1_entries(self):
        """Those of them that map frames of RAM."""
        return [e for e in self.entries if e.level == L1 and e.mfn in self.frames]

    def grants(self, domain):
        """The grants of a domain that are in use."""
        found = []
        for page, address in enumerate(words_at(int(domain.grant.ref("active")), 128)):
            if address:
                data = ctypes.string_at(address, PAGE)
                if data == NOTHING:
                    continue
                for i, (mfn, pin, user, _) in enumerate(struct.iter_unpack("<QIHH", data)):
                    if pin:
                        found.append(Grant(page * ACTIVE_PER_PAGE + i, mfn, pin, user))
        return found

    def mappings(self, domain):
        """The grants that a domain has mapped, by its maptrack table."""
        found = []
        for page, address in enumerate(self.maptrack_pages(domain)):
            data = ctypes.string_at(address, PAGE)
            for i, (mfn, ref, flags, granter) in enumerate(struct.iter_unpack("<QIHH", data)):
                if flags:
                    handle = page * MAPTRACK_PER_PAGE + i
                    found.append(Mapping(handle, mfn, ref, flags, granter))
        return found

    def maptrack_pages(self, domain):
        """Addresses of the pages of a maptrack table."""
        directories = words_at(int(domain.grant.ref("maptrack")), 2)
        return [page for d in directories if d for page in words_at(d, 512) if page]

    @cached_property
    def shared(self):
        """Frames that the core uses together with a domain: shared_info, grant tables. Their
        owner's reference goes with the core's use.
        """
        found = set()
        for domain in self.domains.values():
            pages = [a for a in words_at(int(domain.grant.ref("shared")), 64) if a]
            found.update(self.frame_at(address) for address in pages)
            if int(domain.kill_phase) < SHARED_FRAMES_GIVEN:
                found.add(domain.shared_info_mfn)
        return found

    def frame_at(self, address):
        """Return the frame that an address of the core's is in."""
        return FIRST + (address - self.memory.frames) // PAGE

    @cached_property
    def core_pages(self):
        """Frames that the core uses for itself, and what for."""
        found = {mfn: "boot" for mfn in range(FIRST, FIRST + NR_BOOT_FRAMES)}
        for domain in [*self.domains.values(), *self.buried]:
            name = f"d{domain.domain_id}"
            self._note(found, f"{name} Domain", int(domain))
            pages = words_at(int(domain.evtchn.ref("pages")), 16)
            active = words_at(int(domain.grant.ref("active")), 128)
            maptrack = words_at(int(domain.grant.ref("maptrack")), 2)
            l3 = domain.perdomain_l3
            tables = [l3 << 12, self.memory.page(l3)[0], *domain.perdomain_l1] if l3 else []
            core = [self.memory.address(0) + (maddr & ADDRESS) for maddr in tables if maddr]
            self._note(found, f"{name} table", domain.memory_map, *pages, *active, *maptrack)
            self._note(found, f"{name} table", *self.maptrack_pages(domain), *core)
            for address in words_at(int(domain.ref("vcpus")), len(domain.vcpus)):
                if address:
                    v = View(Vcpu, address)
                    self._note(found, f"{name} vcpu", address, v.xsave_area, int(v.trap_table))
        return found

    def _note(self, found, what, *addresses):
        for address in addresses:
            if address:
                mfn = self.frame_at(address)
                assert mfn not in found, f"frame {mfn:#x}: {what}, and {found[mfn]}"
                found[mfn] = what

    @cached_property
    def buried(self):
        """Domains without references that wait to be freed."""
        found, domain = [], self.machine["kernel.state.domain.domain_table"].buried
        while domain is not None:
            found.append(domain)
            domain = domain.list_next
        return found

    @cached_property
    def translations(self):
        """What each processor's TLB holds that guests can use."""
        lines = self._of_each_cpu("tlb", NR_TRANSLATIONS, Translation, "<QQ???5x")
        return [[line for line in of_one if line.is_user] for of_one in lines]

    @cached_property
    def upper_entries(self):
        """What each processor's paging-structure caches hold."""
        return self._of_each_cpu("upper", NR_UPPER_ENTRIES, UpperEntry, "<QQI???x")

    def _of_each_cpu(self, field, count, type_, code):
        """Read the valid lines of a table that each processor has."""
        size, offset = size_of(Cpu), Cpu.fields[field].offset
        address = int(self.machine["tests.model.processors.cpus"])
        found = []
        for number in range(NR_MODEL_CPUS):
            data = ctypes.string_at(address + number * size + offset, count * 24)
            lines = (type_(*line) for line in struct.iter_unpack(code, data))
            found.append([line for line in lines if line.is_valid])
        return found

    @cached_property
    def eoi_frame(self):
        """The frame that holds domain 0's EOI bits, 0 if none does."""
        address = self.machine["kernel.irq.irq.eoi_map"].value
        return self.frame_at(address) if address else 0


def words_of(view, code):
    """Return all of an array, flat."""
    size = size_of(view.type)
    return list(memoryview(ctypes.string_at(int(view), size)).cast(code))


NOTHING = bytes(PAGE)
SHARED_FRAMES_GIVEN = 4  # KillPhase.done
__all__ = ["CORE_OWNER", "FRAME_ALLOCATED", "FRAME_CORE", "PGT_pinned", "Picture"]
