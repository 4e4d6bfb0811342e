"""The machine that is fuzzed: domain 0 and three guests that have made themselves at home, and the
numbers that a program may name.
"""

import ctypes

import abi

from kernel.state.frame_table import FRAME_BYTES
from tests.fuzz.again import Beginning
from tests.model.guest import BASE, CALLBACK, PAGE, create_guest, make
from tests.model.machine import Machine
from tests.model.memory import END, FIRST, NR_FRAMES

FUZZ_MODULES = [f"tests.fuzz.{name}" for name in ("runner", "audit", "again")]
PLACE = 0x210000000000  # in the host's address space: not where tests/model's machine is
MORE_GUESTS = (2,)  # vCPUs of the guests besides the model's first two
GRANT_PAGE, SHARED_PAGE = BASE + 40 * PAGE, BASE + 41 * PAGE
MAPPED_PAGE = BASE + 42 * PAGE  # and those behind it: what others offer
SECOND_L1, SECOND_L4 = 17, 16  # pages that are tables
READONLY_REF = 3
NR_VECTORS = 20
OFFERED_PAGES = range(18, 24)  # the pages of each guest that it offers to the others
HANDLER_FLAGS = 4  # of a trap: mask events


class World:
    """The machine, ready; `actors` are (domain id, vCPU), domain 0's first."""

    def __init__(self):
        self.machine = Machine(FUZZ_MODULES, ("kernel",), PLACE)
        machine = self.machine
        machine.start_over()
        machine.guests += [create_guest(machine, nr_vcpus=n) for n in MORE_GUESTS]
        self.guests = [machine.dom0, *machine.guests]
        for guest in self.guests:
            settle_in(guest)
        for guest in self.guests:
            offer(self.guests, guest)
            make_tables(guest)
        for guest in self.guests:
            map_offers(self.guests, guest)
        self.actors = [(g.id, number) for g in self.guests for number in range(g.nr_vcpus)]
        self.owner = [g for g in self.guests for _ in range(g.nr_vcpus)]
        table = machine["tests.fuzz.runner.actors"]
        for actor, (domain_id, number) in zip(table, self.actors, strict=False):
            actor.domain_id, actor.vcpu_id = domain_id, number
        self.keep_beginning()
        self.first_free = next(mfn for mfn in range(FIRST, END) if is_free(machine, mfn))

    def keep_beginning(self):
        """Copy all memory, for `start_again`."""
        self.start = self.machine["tests.fuzz.again.start_again"]
        machine, memory, keep = self.machine, self.machine.memory, []
        self.beginning = beginning = machine.program.new(Beginning)
        beginning.frames = kept_copy(keep, memory.frames, NR_FRAMES * PAGE)
        beginning.lines = kept_copy(keep, memory.frame_table, NR_FRAMES * FRAME_BYTES)
        for number in range(NR_FRAMES):
            beginning.is_used[number] = not is_free(machine, FIRST + number)
        log = int(machine["tests.model.processors.accesses"])  # large, and nobody reads it here
        parts = [p for p in machine.take_snapshot().parts if p[0] not in (memory.start, log)]
        parts = [(at, size) for at, size, _ in parts]
        parts += [(memory.start, memory.frames - memory.start)]
        parts += [(memory.frame_table, memory.end - memory.frame_table)]
        for number, (at, size) in enumerate(parts):
            part = {"at": at, "size": size, "kept": kept_copy(keep, at, size)}
            beginning.parts[number] = part
        beginning.nr_parts = len(parts)
        self.kept = keep

    def start_again(self):
        """Go back to the beginning."""
        self.start(self.beginning)


def kept_copy(keep, at, size):
    """Copy memory; return the address of the copy, which lives as long as `keep`."""
    keep.append(ctypes.create_string_buffer(ctypes.string_at(at, size), size))
    return ctypes.addressof(keep[-1])


def settle_in(guest):
    """Handle exceptions, and map the grant table and the shared page."""
    traps = b""
    for vector in range(NR_VECTORS):
        fields = {"vector": vector, "flags": HANDLER_FLAGS, "cs": abi.FLAT_KERNEL_CS}
        traps += bytes(make(abi.trap_info, **fields, address=CALLBACK))
    for vcpu in range(guest.nr_vcpus):
        at = guest.put(traps + bytes(16))
        assert guest.call(abi.__HYPERVISOR_set_trap_table, at, vcpu=vcpu) == 0
    at = guest.put([0])
    fields = {"dom": abi.DOMID_SELF, "nr_frames": 1, "frame_list": at}
    op = guest.put(abi.gnttab_setup_table, **fields)
    assert guest.call(abi.__HYPERVISOR_grant_table_op, abi.GNTTABOP_setup_table, op, 1) == 0
    frames = {GRANT_PAGE: guest.words(at, 1)[0], SHARED_PAGE: guest.domain.shared_info_mfn}
    for address, mfn in frames.items():
        call = (abi.__HYPERVISOR_update_va_mapping, address, mfn << 12 | 7, abi.UVMF_INVLPG)
        assert guest.call(*call) == 0


def offer(guests, guest):
    """Offer pages and event channels to all others."""
    others = [other for other in guests if other is not guest]
    for number, page in enumerate(OFFERED_PAGES):
        other = others[number % len(others)]
        readonly = abi.GTF_readonly if number % 3 == 2 else 0
        mfn = guest.pages[page]
        word = abi.GTF_permit_access | readonly | other.id << 16 | mfn << 32
        guest.write(GRANT_PAGE + 8 * (number + 1), word.to_bytes(8, "little"))
    for other in others:
        op = guest.put(abi.evtchn_alloc_unbound, dom=abi.DOMID_SELF, remote_dom=other.id)
        call = (abi.__HYPERVISOR_event_channel_op, abi.EVTCHNOP_alloc_unbound, op)
        assert guest.call(*call) == 0


def map_offers(guests, guest):
    """Map what each of the others offers this guest first."""
    for number, other in enumerate(g for g in guests if g is not guest):
        ref = 1 + [g for g in guests if g is not other].index(guest)
        fields = {"host_addr": MAPPED_PAGE + number * PAGE, "ref": ref, "dom": other.id}
        flags = abi.GNTMAP_host_map | (abi.GNTMAP_readonly if ref == READONLY_REF else 0)
        at = guest.put(abi.gnttab_map_grant_ref, **fields, flags=flags)
        assert guest.call(abi.__HYPERVISOR_grant_table_op, abi.GNTTABOP_map_grant_ref, at, 1) == 0
        assert guest.get(abi.gnttab_map_grant_ref, at).status == 0


def make_tables(guest):
    """Have a second L1, below the L2, and a second L4, pinned; let writes to L1s be emulated."""
    enable = (abi.VMASST_CMD_enable, abi.VMASST_TYPE_writable_pagetables)
    assert guest.call(abi.__HYPERVISOR_vm_assist, *enable) == 0
    l1, l4 = (guest.pages[number] for number in (SECOND_L1, SECOND_L4))
    link = (guest.pages[1] << 12 | 7).to_bytes(8, "little")
    guest.write(BASE + SECOND_L4 * PAGE + 511 * 8, link)
    for number in (SECOND_L1, SECOND_L4):
        entry, flush = guest.pages[number] << 12 | 5, abi.UVMF_INVLPG | abi.UVMF_ALL
        address = BASE + number * PAGE
        assert guest.call(abi.__HYPERVISOR_update_va_mapping, address, entry, flush) == 0
    at = guest.put([abi.MMUEXT_PIN_L1_TABLE, l1, 0, abi.MMUEXT_PIN_L4_TABLE, l4, 0])
    assert guest.call(abi.__HYPERVISOR_mmuext_op, at, 2, 0, abi.DOMID_SELF) == 0
    at = guest.put([guest.pages[2] << 12 | 8, l1 << 12 | 7])
    assert guest.call(abi.__HYPERVISOR_mmu_update, at, 1, 0, abi.DOMID_SELF) == 0


def is_free(machine, mfn):
    """Whether a frame is in the heap."""
    return machine.frame(mfn).info >> 28 & 1 == 1
