"""Races for the holes that the core had: what guests did at the same time.

How many stops each needs is in HOLES; tests/model/test_holes.py undoes the cures.
"""

import abi

from tests.model import stage
from tests.model.guest import PAGE
from tests.model.race import Race, Racer, read, write
from tests.model.race_actors import DATA_PAGE, FRAME_PAGE
from tests.model.stage import SECRET, SPARE, address, entry, remap


def former_table(machine):
    """A former L1 table of one guest's gets written by two others' grant copies, while a processor
    may still walk through it.
    """
    owner, other, dom0 = stage.begin(machine)
    frame, l2 = owner.pages[FRAME_PAGE], owner.pages[2]
    stage.set_up_grants(owner)
    stage.must(owner, remap(address(FRAME_PAGE), 0))
    stage.fill(machine, frame, {0: entry(owner.pages[DATA_PAGE])})
    stage.must(owner, stage.update(owner, l2, stage.SPARE_L2_SLOT, entry(frame)))
    assert stage.access(machine, owner, read(SPARE), vcpu=1) == 0
    stage.must(owner, stage.update(owner, l2, stage.SPARE_L2_SLOT, 0))
    racers = {"C": Racer(owner, [read(SPARE + PAGE)], vcpu=1)}
    for name, ref, guest in (("A", 1, other), ("B", 2, dom0)):
        stage.offer(owner, ref, frame, guest)
        forged = guest.pages[FRAME_PAGE]
        stage.fill(machine, forged, {1: entry(SECRET)})
        racers[name] = Racer(guest, [stage.grant_copy(guest, forged, (owner, ref))])
    return Race(machine, dict(sorted(racers.items())))


def stamp(machine):
    """One guest lets go of a frame while another maps it, writes to it, and lets go without a
    flush; then the frame becomes a page table.
    """
    owner, other, _ = stage.begin(machine)
    frame, at = owner.pages[FRAME_PAGE], address(FRAME_PAGE)
    stage.set_up_grants(owner)
    stage.offer(owner, 1, frame, other)
    stage.fill(machine, frame, {})
    flush = stage.mmuext(other, abi.MMUEXT_TLB_FLUSH_LOCAL, 0)
    take = stage.grant_map(other, owner, 1, at)
    return Race(
        machine,
        {
            "A": Racer(owner, [remap(at, 0), stage.pin(owner, frame)]),
            "B": Racer(other, [flush, take, write(at, 0), remap(at, 0, 0)]),
        },
    )


def entry_of_lost_table(machine):
    """Domain 0 changes an entry of a frame that it gave up, while a guest gets the frame and makes
    it a page table.
    """
    _, other, dom0 = stage.begin(machine)
    frame = give_up(machine)
    change = stage.update(dom0, frame, 5, entry(dom0.pages[DATA_PAGE]))
    taken = [stage.populate(other), stage.pin(other, frame)]
    return Race(machine, {"A": Racer(dom0, [change]), "B": Racer(other, taken)})


def grant_in_lost_table(machine):
    """Domain 0 maps a grant at an entry of a frame that it gave up, and so on."""
    granter, other, dom0 = stage.begin(machine)
    stage.set_up_grants(granter)
    for ref in (1, 2):
        stage.offer(granter, ref, granter.pages[DATA_PAGE], dom0)
    stage.must(dom0, stage.grant_map(dom0, granter, 1, address(20)))  # takes memory for handles
    frame = give_up(machine)
    flags = abi.GNTMAP_host_map | abi.GNTMAP_contains_pte
    take = stage.grant_map(dom0, granter, 2, frame << 12 | 40, flags)
    taken = [stage.populate(other), stage.pin(other, frame)]
    return Race(machine, {"A": Racer(dom0, [take]), "B": Racer(other, taken)})


def first_handle(machine):
    """A guest maps its first grant, for which memory is out until another gives a frame up."""
    owner, _, dom0 = stage.begin(machine)
    frame = owner.pages[FRAME_PAGE]
    stage.must(owner, remap(address(FRAME_PAGE), 0))
    stage.set_up_grants(dom0)
    stage.offer(dom0, 1, dom0.pages[DATA_PAGE], owner)
    stage.drain(machine)
    take = stage.grant_map(owner, dom0, 1, address(20))
    give = stage.decrease(owner, frame)
    return Race(machine, {"A": Racer(owner, [take]), "B": Racer(owner, [give], vcpu=1)})


def give_up(machine):
    """Let domain 0 give up a frame, the only free one then; return it."""
    dom0 = machine.dom0
    frame = dom0.pages[FRAME_PAGE]
    stage.must(dom0, remap(address(FRAME_PAGE), 0))
    stage.drain(machine)
    stage.must(dom0, stage.decrease(dom0, frame))
    return frame


def pin_of_lost_table(machine):
    """Domain 0 unpins such a frame."""
    _, other, dom0 = stage.begin(machine)
    frame = give_up(machine)
    taken = [stage.populate(other), stage.pin(other, frame)]
    return Race(
        machine,
        {"A": Racer(dom0, [stage.unpin(dom0, frame)]), "B": Racer(other, taken)},
    )


def frame_of_the_dying(machine):
    """Domain 0 takes a dying guest's memory away, while another lets go of a frame that the guest
    had given up before, gets it, and makes it a page table.
    """
    owner, other, dom0 = stage.begin(machine)
    frame = owner.pages[FRAME_PAGE]
    stage.set_up_grants(owner)
    stage.offer(owner, 1, frame, other)
    stage.must(owner, remap(address(FRAME_PAGE), 0))
    stage.must(other, stage.grant_map(other, owner, 1, address(20)))
    stage.must(owner, stage.decrease(owner, frame))
    stage.drain(machine)
    taken = [remap(address(20), 0, 0), stage.populate(other), stage.pin(other, frame)]
    racers = {"A": Racer(dom0, [stage.destroy(dom0, owner)]), "B": Racer(other, taken)}
    return Race(machine, racers)


HOLES = {  # the race, and how many stops it needs to be found
    former_table: 1,
    stamp: 1,
    entry_of_lost_table: 2,
    grant_in_lost_table: 2,
    pin_of_lost_table: 2,
    first_handle: 1,
}
