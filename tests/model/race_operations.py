"""Races for one frame: of every pair of operations, and of two operations and a walk."""

import tests.model.other_operations
import tests.model.owner_operations  # noqa: F401  they enter their operations
from tests.model import stage
from tests.model.guest import PAGE
from tests.model.race import Race, Racer, read, write
from tests.model.race_actors import DOM0, FRAME_PAGE, OPERATIONS, OTHER, OWNER, Actor
from tests.model.stage import address, entry, remap


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
