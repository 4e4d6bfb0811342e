"""What guests do to one frame, for races of every pair: what each operation prepares, its steps.

The frame is its owner's page 9. An operation is done by one of the owner's two vCPUs, by one of two
other domains that have grants of the frame, or by domain 0 as the one with rights to all memory.
"""

from dataclasses import dataclass

import abi

from kernel.frames.page_type import TYPE_COUNT_MASK
from kernel.x86.memlayout import PERDOMAIN_VIRT_START
from kernel.x86.perdomain import LDT_PAGE, PAGES_PER_VCPU
from tests.model import stage
from tests.model.guest import FIRST_DATA_PAGE, PAGE
from tests.model.race import Race, Racer, call, fault, read, write
from tests.model.stage import READABLE, WRITABLE, address, entry, remap

OPERATIONS = {}
WRITE_FAULT, PAGE_FAULT = 3, 14  # error code: present, a write; vector
OWNER, OTHER, DOM0 = "owner", "other", "dom0"  # who does an operation
FRAME_PAGE = FIRST_DATA_PAGE
DATA_PAGE = FIRST_DATA_PAGE + 1  # of the owner: what the frame leads to as a page table
SPARE_PAGE = 20  # where actors map the frame, each at its own


@dataclass(frozen=True)
class Operation:
    name: str
    who: str
    make: object


@dataclass
class Actor:
    """Who does an operation, and on what."""

    machine: object
    guest: object
    vcpu: int
    owner: object
    number: int  # 0 or 1: the first or the second of the pair

    @property
    def frame(self):
        return self.owner.pages[FRAME_PAGE]

    @property
    def data(self):
        return entry(self.owner.pages[DATA_PAGE])

    @property
    def at(self):
        """Where this actor maps the frame."""
        return address(SPARE_PAGE + self.number)

    @property
    def ref(self):
        """The number of the grant of the frame to this actor."""
        return 1 if self.guest is self.machine.dom0 else 2

    def prepare(self, *steps):
        """Do steps now, as far as they are possible."""
        for step in steps:
            stage.do(self.guest, step, self.vcpu)

    def touch(self, va, step=read):
        """Let the processor know a translation."""
        word = [0] if step is write else []
        stage.access(self.machine, self.guest, step(va, *word), self.vcpu)

    def fault(self, address):
        """Let the core mend a page fault of this actor's now."""
        self.machine.trap(self.guest.vcpu(self.vcpu), PAGE_FAULT, 0, address)

    def map_own(self, flags):
        """Map the frame, and let the processor know."""
        self.prepare(remap(self.at, entry(self.frame, flags)))
        self.touch(self.at)

    def contents(self, level):
        """Let the frame look like a page table of a level: it leads to the next level's. Not if
        it is in use.
        """
        if self.machine.frame(self.frame).info & TYPE_COUNT_MASK:
            return
        pages = self.owner.pages
        if level == 4:
            words = {511: entry(pages[1])}
        else:
            words = {0: self.data if level == 1 else entry(pages[5 - level])}
        stage.fill(self.machine, self.frame, words)


def operation(who, name=None):
    """Enter a function from an actor to its steps."""

    def enter(make):
        label = name or make.__name__
        OPERATIONS[label] = Operation(label, who, make)
        return make

    return enter


# By the owner


@operation(OWNER)
def map_writable(a):
    return [remap(a.at, entry(a.frame))]


@operation(OWNER)
def map_readable(a):
    return [remap(a.at, entry(a.frame, READABLE))]


@operation(OWNER)
def unmap_writable(a):
    a.map_own(WRITABLE)
    return [remap(a.at, 0, 0)]


@operation(OWNER)
def unmap_readable(a):
    a.map_own(READABLE)
    return [remap(a.at, 0, 0)]


@operation(OWNER)
def make_readable(a):
    a.map_own(WRITABLE)
    return [remap(a.at, entry(a.frame, READABLE), 0)]


@operation(OWNER)
def make_writable(a):
    a.map_own(READABLE)
    return [remap(a.at, entry(a.frame))]


def pins(level):
    @operation(OWNER, f"pin_l{level}")
    def pin(a):
        a.contents(level)
        return [stage.pin(a.guest, a.frame, level)]

    @operation(OWNER, f"unpin_l{level}")
    def unpin(a):
        a.contents(level)
        a.prepare(stage.pin(a.guest, a.frame, level))
        return [stage.unpin(a.guest, a.frame)]


for number in (1, 2, 3, 4):
    pins(number)


@operation(OWNER)
def link(a):
    a.contents(1)
    return [stage.update(a.guest, a.owner.pages[2], stage.SPARE_L2_SLOT, entry(a.frame))]


@operation(OWNER)
def unlink(a):
    a.contents(1)
    l2 = a.owner.pages[2]
    a.prepare(stage.update(a.guest, l2, stage.SPARE_L2_SLOT, entry(a.frame)))
    a.touch(stage.SPARE)
    return [stage.update(a.guest, l2, stage.SPARE_L2_SLOT, 0)]


@operation(OWNER)
def update_entry(a):
    a.contents(1)
    a.prepare(stage.pin(a.guest, a.frame))
    return [stage.update(a.guest, a.frame, 100 + a.number, a.data)]


@operation(OWNER)
def clear_entry(a):
    a.contents(1)
    a.prepare(stage.pin(a.guest, a.frame))
    return [stage.update(a.guest, a.frame, 0, 0)]


@operation(OWNER)
def exchange(a):
    sides = {
        "in_": {"extent_start": a.guest.put([a.frame]), "nr_extents": 1, "domid": abi.DOMID_SELF},
        "out": {"extent_start": a.guest.put([7]), "nr_extents": 1, "domid": abi.DOMID_SELF},
    }
    at = a.guest.put(abi.xen_memory_exchange, **sides)
    return [call("memory_op", abi.XENMEM_exchange, at)]


@operation(OWNER)
def decrease(a):
    return [stage.decrease(a.guest, a.frame)]


@operation(OWNER)
def decrease_and_populate(a):
    return [stage.decrease(a.guest, a.frame), stage.populate(a.guest)]


@operation(OWNER)
def set_gdt(a):
    return [call("set_gdt", a.guest.put([a.frame]), 8)]


@operation(OWNER)
def drop_gdt(a):
    a.prepare(call("set_gdt", a.guest.put([a.frame]), 8))
    return [call("set_gdt", a.guest.put([0]), 0)]


@operation(OWNER)
def clear_page(a):
    return [stage.mmuext(a.guest, abi.MMUEXT_CLEAR_PAGE, a.frame)]


@operation(OWNER)
def new_user_base(a):
    a.contents(4)
    return [stage.mmuext(a.guest, abi.MMUEXT_NEW_USER_BASEPTR, a.frame)]


@operation(OWNER)
def copy_own(a):
    return [stage.grant_copy(a.guest, a.owner.pages[DATA_PAGE], a.frame)]


@operation(OWNER)
def write_entry(a):
    """Write to the frame as an L1 table in force, through a read-only mapping."""
    a.contents(1)
    a.prepare(call("vm_assist", abi.VMASST_CMD_enable, abi.VMASST_TYPE_writable_pagetables))
    a.prepare(stage.pin(a.guest, a.frame), remap(a.at, entry(a.frame, READABLE)))
    return [fault(a.at + 8 * (100 + a.number), a.data, WRITE_FAULT)]


def ldt_of(a):
    """Return where the core shows the processor the LDT of an actor's vCPU."""
    return PERDOMAIN_VIRT_START + a.vcpu * PAGES_PER_VCPU * PAGE + LDT_PAGE * PAGE


@operation(OWNER)
def use_ldt(a):
    """Let the processor look into the frame as an LDT."""
    a.prepare(remap(a.at, entry(a.frame, READABLE)), stage.set_ldt(a.guest, a.at))
    return [fault(ldt_of(a), 0, 0)]


@operation(OWNER)
def drop_ldt(a):
    """Leave such an LDT."""
    use_ldt(a)
    a.fault(ldt_of(a))
    return [stage.set_ldt(a.guest, 0, 0)]


# By others, who have grants


@operation(OTHER)
def grant_map(a):
    return [stage.grant_map(a.guest, a.owner, a.ref, a.at), write(a.at + PAGE // 2, 0)]


@operation(OTHER)
def grant_map_readable(a):
    flags = abi.GNTMAP_host_map | abi.GNTMAP_readonly
    return [stage.grant_map(a.guest, a.owner, a.ref, a.at, flags), read(a.at)]


@operation(OTHER)
def grant_unmap(a):
    a.prepare(stage.grant_map(a.guest, a.owner, a.ref, a.at))
    a.touch(a.at, write)
    return [stage.grant_unmap(a.guest, 0, a.at)]


@operation(OTHER)
def grant_overwrite(a):
    a.prepare(stage.grant_map(a.guest, a.owner, a.ref, a.at))
    a.touch(a.at, write)
    return [remap(a.at, 0, 0)]


@operation(OTHER)
def grant_come_and_go(a):
    flush = stage.mmuext(a.guest, abi.MMUEXT_TLB_FLUSH_LOCAL, 0)
    at = a.at + PAGE // 2
    take = stage.grant_map(a.guest, a.owner, a.ref, a.at)
    return [flush, take, write(at, 0), remap(a.at, 0, 0)]


@operation(OTHER)
def copy_to(a):
    return [stage.grant_copy(a.guest, a.guest.pages[FRAME_PAGE], (a.owner, a.ref))]


@operation(OTHER)
def copy_from(a):
    return [stage.grant_copy(a.guest, (a.owner, a.ref), a.guest.pages[FRAME_PAGE])]


@operation(OTHER)
def populate(a):
    return [stage.populate(a.guest)]


# By domain 0


@operation(DOM0)
def foreign_map(a):
    return [remap(a.at, entry(a.frame), abi.UVMF_INVLPG, a.owner.id)]


@operation(DOM0)
def foreign_map_readable(a):
    return [remap(a.at, entry(a.frame, READABLE), abi.UVMF_INVLPG, a.owner.id)]


@operation(DOM0)
def foreign_unmap(a):
    a.prepare(remap(a.at, entry(a.frame), abi.UVMF_INVLPG, a.owner.id))
    a.touch(a.at, write)
    return [remap(a.at, 0, 0)]


@operation(DOM0)
def foreign_pin(a):
    a.contents(1)
    return [stage.pin(a.guest, a.frame, 1, a.owner.id)]


@operation(DOM0)
def foreign_unpin(a):
    a.contents(1)
    a.prepare(stage.pin(a.guest, a.frame, 1, a.owner.id))
    return [stage.unpin(a.guest, a.frame, a.owner.id)]


@operation(DOM0)
def foreign_update(a):
    a.contents(1)
    a.prepare(stage.pin(a.guest, a.frame, 1, a.owner.id))
    whose = a.owner.id | a.owner.id + 1 << 16
    return [stage.update(a.guest, a.frame, 100, a.data, whose)]


@operation(DOM0)
def destroy(a):
    fields = {"domain": a.owner.id, "interface_version": abi.XEN_DOMCTL_INTERFACE_VERSION}
    at = a.guest.put(abi.xen_domctl, cmd=abi.XEN_DOMCTL_destroydomain, **fields)
    return [call("domctl", at)]


# Triples: the owner's second processor walks through the frame while two others change its use


def was_a_table(a):
    """Let the frame be an L1 table that the other processor of the owner's knows, and then not."""
    l2 = a.owner.pages[2]
    a.contents(1)
    a.prepare(stage.update(a.guest, l2, stage.SPARE_L2_SLOT, entry(a.frame)))
    assert stage.access(a.machine, a.owner, read(stage.SPARE), vcpu=1) == 0
    a.prepare(stage.update(a.guest, l2, stage.SPARE_L2_SLOT, 0))


def is_a_table(a):
    """Let it stay one."""
    was_a_table(a)
    a.prepare(stage.update(a.guest, a.owner.pages[2], stage.SPARE_L2_SLOT, entry(a.frame)))


def forge_by_copy(a):
    """Copy a page that would map the core's memory, as a page table, to the frame."""
    forged = a.guest.pages[FRAME_PAGE]
    stage.fill(a.machine, forged, {1: entry(stage.SECRET)})
    return [stage.grant_copy(a.guest, forged, (a.owner, a.ref))]


def forge_by_mapping(a):
    """Map the frame, and write such an entry."""
    take = stage.grant_map(a.guest, a.owner, a.ref, a.at)
    return [take, write(a.at + 8, entry(stage.SECRET))]


def forge_own(a):
    """The same by its owner."""
    return [remap(a.at, entry(a.frame)), write(a.at + 8, entry(stage.SECRET))]


def give_away(a):
    """Give the frame up, which another may then get and write to."""
    return [stage.decrease(a.guest, a.frame)]


def take_and_forge(a):
    """Get it, map it and write such an entry."""
    taken = remap(a.at, entry(a.frame))
    return [stage.populate(a.guest), taken, write(a.at + 8, entry(stage.SECRET))]


TRIPLES = [  # what the frame is, and what two do: the owner's first vCPU, domain 0, the other guest
    (was_a_table, {DOM0: forge_by_copy, OTHER: forge_by_copy}),
    (was_a_table, {DOM0: forge_by_mapping, OTHER: forge_by_copy}),
    (was_a_table, {OWNER: forge_own, OTHER: forge_by_copy}),
    (was_a_table, {OWNER: forge_own, DOM0: forge_by_mapping}),
    (was_a_table, {OWNER: give_away, OTHER: take_and_forge}),
    (was_a_table, {OWNER: OPERATIONS["link"].make, OTHER: forge_by_copy}),
    (is_a_table, {OWNER: OPERATIONS["unlink"].make, OTHER: forge_by_copy}),
    (is_a_table, {OWNER: OPERATIONS["unlink"].make, DOM0: forge_by_mapping}),
    (is_a_table, {OWNER: OPERATIONS["make_readable"].make, OTHER: forge_by_mapping}),
]


def make_triple(machine, state, does):
    """Make the race of two operations and of a walk by the owner's second vCPU."""
    owner, other, dom0 = stage.begin(machine)
    guests = {OWNER: owner, DOM0: dom0, OTHER: other}
    offer_frame(machine, owner, other, dom0)
    state(Actor(machine, owner, 0, owner, 2))
    racers = {"C": Racer(owner, (read(stage.SPARE + PAGE), read(stage.SPARE + 2 * PAGE)), vcpu=1)}
    for number, (who, make) in enumerate(does.items()):
        guest = guests[who]
        steps = make(Actor(machine, guest, 0, owner, number))
        racers["AB"[number]] = Racer(guest, tuple(steps))
    if take_and_forge in does.values():
        stage.drain(machine)
    return Race(machine, dict(sorted(racers.items())))


# Pairs


def offer_frame(machine, owner, other, dom0):
    """Make the owner's frame a plain one that nobody maps, with grants of it."""
    frame = owner.pages[FRAME_PAGE]
    stage.set_up_grants(owner)
    for ref, guest in ((1, dom0), (2, other)):
        stage.offer(owner, ref, frame, guest)
    stage.must(owner, remap(address(FRAME_PAGE), 0))
    stage.fill(machine, frame, {})


def make_pair(machine, one, two):
    """Make the race of two operations; None if one vCPU would have to do both."""
    owner, other, dom0 = stage.begin(machine)
    kinds = [OPERATIONS[name].who for name in (one, two)]
    if kinds == [DOM0, DOM0]:
        return None
    offer_frame(machine, owner, other, dom0)
    places = {OWNER: [(owner, 0), (owner, 1)], DOM0: [(dom0, 0)] * 2, OTHER: [(other, 0)] * 2}
    if kinds == [OTHER, OTHER]:
        places[OTHER] = [(other, 0), (dom0, 0)]
    racers = {}
    for number, name in enumerate((one, two)):
        guest, vcpu = places[kinds[number]][number]
        steps = OPERATIONS[name].make(Actor(machine, guest, vcpu, owner, number))
        racers["AB"[number]] = Racer(guest, tuple(steps), vcpu)
    if any("populate" in name for name in (one, two)):
        stage.drain(machine)  # who gets a frame gets this one
    return Race(machine, racers)
