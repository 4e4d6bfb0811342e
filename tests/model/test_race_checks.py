"""What is looked at a second time, because another processor may have come in between: in each race
here a check is all that stands between one guest and another's half-done work.
"""

import ctypes

import abi
import pytest
from kpy.front.structs import offset_of

from kernel.x86.bits import PTE_ACCESSED, PTE_WRITE
from tests.model import invariants, stage
from tests.model.errors import NOBODY
from tests.model.explore import explore
from tests.model.guest import ARGUMENTS, BASE, PAGE, create_guest, domctl, make
from tests.model.holes import give_up
from tests.model.invariants_sched import check_sched
from tests.model.memory import END, FIRST, NR_FRAMES
from tests.model.owner_operations import WRITE_FAULT
from tests.model.race import Race, Racer, call, fault, read
from tests.model.race_actors import FRAME_PAGE
from tests.model.stage import READABLE, WRITABLE, address, entry, remap
from tests.model.turns import CODE_AT, EMULATED

EFAULT = -abi.EFAULT
SPARE_PAGE = 20
AT = address(SPARE_PAGE)
AVAILABLE = 1 << 9  # bit of an entry
WRITABLE_TABLES = abi.VMASST_TYPE_writable_pagetables
L1 = 3  # the owner's page


def expect(race, okay, most_stops=1):
    """Run a race in every order: the invariants hold, and `okay(results by racer)`."""
    for schedule, outcome in explore(race, most_stops):
        problem = str(outcome.panic or "")
        if not problem and not okay(outcome.results):
            problem = f"no order of the steps gives {outcome.results}"
        assert not problem, f"{problem}\n{race.explain(schedule)}"
        invariants.check(race.machine)


# Frames that change hands


def map_it(guest, frame):
    return remap(AT, entry(frame))


def clear_it(guest, frame):
    return stage.mmuext(guest, abi.MMUEXT_CLEAR_PAGE, frame)


def take_frame(machine, to, *steps):
    """Let a guest get the frame that domain 0 gave up, and map it."""
    frame = give_up(machine)
    return frame, Racer(to, [stage.populate(to), remap(AT, entry(frame)), *steps])


@pytest.mark.parametrize("flags", [READABLE, WRITABLE])
def test_a_former_owner_maps_a_frame(machine, flags):
    """Whenever another gets it, it is not domain 0's any more."""
    _, other, dom0 = stage.begin(machine)
    frame, taker = take_frame(machine, other)
    former = Racer(dom0, [remap(AT, entry(frame, flags))])
    expect(Race(machine, {"A": former, "B": taker}), lambda results: results["A"][0] < 0)


def test_a_former_owner_clears_a_frame(machine):
    """The other's memory stays."""
    _, other, dom0 = stage.begin(machine)
    frame, taker = take_frame(machine, other)
    former = Racer(dom0, [clear_it(dom0, frame)])
    expect(Race(machine, {"A": former, "B": taker}), lambda results: results["A"][0] < 0)


@pytest.mark.parametrize("does", [map_it, clear_it])
def test_a_stranger_is_not_felt(machine, does):
    """Its call is refused before it counts as a user of the frame, which the owner may want as
    something else at that moment.
    """
    owner, other, _ = stage.begin(machine)
    frame = owner.pages[FRAME_PAGE]
    stage.must(owner, remap(address(FRAME_PAGE), 0))
    stage.fill(machine, frame, {})
    racers = {
        "A": Racer(other, [does(other, frame)]),
        "B": Racer(owner, [stage.pin(owner, frame)]),
    }
    expect(Race(machine, racers), lambda results: results["B"] == (0,))


# Entries in which the processor sets bits


OR, AND, MOV = (bytes.fromhex(code) for code in ("480907", "482107", "488907"))  # [rdi], rax
CHANGES = {  # by name: the instruction, rax, and what becomes of an entry
    "set a bit": (OR, AVAILABLE, lambda entry: entry | AVAILABLE),
    "make read-only": (AND, ~PTE_WRITE, lambda entry: entry & ~PTE_WRITE),
    "clear": (AND, 0, lambda entry: 0),
    "store": (MOV, 0, lambda entry: 0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_bits_that_a_processor_sets_are_not_lost(machine, change):
    """A kernel changes an entry as if it were memory, while its other processor goes through it:
    it is changed from what it was then, or not at all.
    """
    code, word, change = CHANGES[change]
    owner, _, _ = stage.begin(machine)
    stage.must(owner, call("vm_assist", abi.VMASST_CMD_enable, WRITABLE_TABLES))
    owner.write(CODE_AT, code)
    table, before = machine.memory.page(owner.pages[L1]), entry(owner.pages[SPARE_PAGE])
    stage.must(owner, remap(AT, before))
    write = fault(address(L1) + 8 * SPARE_PAGE, word & (1 << 64) - 1, WRITE_FAULT)
    racers = {"A": Racer(owner, [write]), "B": Racer(owner, [read(AT)], vcpu=1)}

    def okay(results):
        seen = PTE_ACCESSED if results["B"][0] is not None else 0
        found, was_done = table[SPARE_PAGE], results["A"][0] == EMULATED
        at_last = [before | seen, change(before | seen), change(before) | seen]
        return found in at_last[was_done:][: 1 + was_done]

    expect(Race(machine, racers), okay)


# What becomes readable half way


def made_readable(machine, contents, *arguments):
    """The race of a call whose structure, at AT, is on a page that is not mapped, with the mapping.

    Args: contents: the structure, or a function of its owner that makes it.
    """
    owner, _, _ = stage.begin(machine)
    structure = bytes(contents(owner) if callable(contents) else contents)
    words = [structure[i : i + 8] for i in range(0, len(structure), 8)]
    page = owner.pages[SPARE_PAGE]
    stage.fill(machine, page, {i: int.from_bytes(word, "little") for i, word in enumerate(words)})
    stage.must(owner, remap(AT, 0))
    appear = Racer(owner, [remap(AT, entry(page))], vcpu=1)
    return Race(machine, {"A": Racer(owner, [call(*arguments)]), "B": appear})


def test_a_version_that_becomes_readable(machine):
    """It is set to what was asked for, or not at all."""
    wanted = make(abi.gnttab_set_version, version=1)
    race = made_readable(machine, wanted, "grant_table_op", abi.GNTTABOP_set_version, AT, 1)
    expect(race, lambda results: results["A"][0] in (0, EFAULT))


def test_a_question_that_becomes_readable(machine):
    """It is answered as it was asked, or not at all."""
    asked = make(abi.gnttab_query_size, dom=abi.DOMID_SELF)
    race = made_readable(machine, asked, "grant_table_op", abi.GNTTABOP_query_size, AT, 1)
    answer = make(abi.gnttab_query_size, dom=abi.DOMID_SELF, nr_frames=1, max_nr_frames=4)
    page = machine.memory.page(machine.guests[1].pages[SPARE_PAGE])

    def okay(results):
        told = asked if results["A"] == (EFAULT,) else answer
        return bytes(page)[: len(bytes(told))] == bytes(told)

    expect(race, okay)


def test_an_operation_that_becomes_readable(machine):
    """The number of the old event channel operations lies before the structure; read as that of
    operation 0, it names a domain that is not there.
    """
    op = make(abi.evtchn_op, cmd=abi.EVTCHNOP_unmask, u={"unmask": {"port": 1 << 16 | NOBODY}})
    race = made_readable(machine, op, "event_channel_op_compat", AT)
    expect(race, lambda results: results["A"][0] in (-abi.EINVAL, EFAULT))


def exchange(owner):
    """Exchange the frame for another."""
    frame = owner.pages[FRAME_PAGE]
    stage.must(owner, remap(address(FRAME_PAGE), 0))
    lists = {"in_": owner.put([frame]), "out": owner.put([FRAME_PAGE])}
    side = {"nr_extents": 1, "domid": abi.DOMID_SELF}
    sides = {name: {"extent_start": at} | side for name, at in lists.items()}
    return make(abi.xen_memory_exchange, **sides)


def test_an_exchange_that_becomes_readable(machine):
    """What is told to be exchanged was."""
    race = made_readable(machine, exchange, "memory_op", abi.XENMEM_exchange, AT)
    page = machine.memory.page(machine.guests[1].pages[SPARE_PAGE])
    place = offset_of(abi.xen_memory_exchange, "nr_exchanged") // 8
    expect(race, lambda results: (results["A"][0], page[place]) in ((0, 1), (EFAULT, 0)))


def test_an_exchange_whose_list_becomes_readable(machine):
    """A frame that is told has the number that was asked for."""
    owner, _, _ = stage.begin(machine)
    frame, page = owner.pages[FRAME_PAGE], owner.pages[SPARE_PAGE]
    stage.fill(machine, page, {0: FRAME_PAGE})
    for number in (SPARE_PAGE, FRAME_PAGE):
        stage.must(owner, remap(address(number), 0))
    side = {"nr_extents": 1, "domid": abi.DOMID_SELF}
    sides = {"in_": {"extent_start": owner.put([frame])} | side, "out": {"extent_start": AT} | side}
    step = call("memory_op", abi.XENMEM_exchange, owner.put(abi.xen_memory_exchange, **sides))
    appear = Racer(owner, [remap(AT, entry(page))], vcpu=1)
    numbers = (ctypes.c_uint64 * NR_FRAMES).from_address(machine.memory.m2p)

    def okay(results):
        told = machine.memory.page(page)[0]
        return results["A"] == (EFAULT,) or numbers[told - FIRST] == FRAME_PAGE

    expect(Race(machine, {"A": Racer(owner, [step]), "B": appear}), okay)


# Domains that go


def test_a_domain_whose_last_reference_goes(machine):
    """Whoever asks for it then does not hold it again."""
    stage.begin(machine)
    dying, asker, dom0 = machine.guests[0], machine.guests[1], machine.dom0
    frame = entry(dying.pages[FRAME_PAGE])
    stage.must(dom0, remap(AT, frame, abi.UVMF_INVLPG, dying.id))
    domctl(dom0, abi.XEN_DOMCTL_destroydomain, dying.id)
    at = asker.put(abi.evtchn_bind_interdomain, remote_dom=dying.id, remote_port=1)
    ask = call("event_channel_op", abi.EVTCHNOP_bind_interdomain, at)
    race = Race(machine, {"A": Racer(dom0, [remap(AT, 0)]), "B": Racer(asker, [ask])})
    table = machine["kernel.state.domain.domain_table"]
    expect(race, lambda results: table.nr_domains == len(machine.alive()) == 2)


def test_a_grant_table_that_goes(machine):
    """Domain 0's other processor lists it, as the other guest does here, who may: only frames."""
    _, _, dom0 = stage.begin(machine)
    dying, lister = machine.guests
    domctl(dom0, abi.XEN_DOMCTL_pausedomain, dying.id)
    dom0.put_at = ARGUMENTS
    lister.domain.is_privileged = True
    to = lister.put([0])
    at = lister.put(abi.gnttab_setup_table, dom=dying.id, nr_frames=1, frame_list=to)
    setup = call("grant_table_op", abi.GNTTABOP_setup_table, at, 1)
    fields = {"domain": dying.id, "interface_version": abi.XEN_DOMCTL_INTERFACE_VERSION}
    at = dom0.put(abi.xen_domctl, cmd=abi.XEN_DOMCTL_destroydomain, **fields)
    racers = {"A": Racer(lister, [setup]), "B": Racer(dom0, [call("domctl", at)])}
    page = machine.memory.page(lister.pages[(to - BASE) // PAGE])
    place = to % PAGE // 8
    expect(Race(machine, racers), lambda results: page[place] == 0 or FIRST <= page[place] < END)


# vCPUs that come and go


def test_a_vcpu_that_is_stopped_and_started(machine):
    """Two of its siblings do that at once: it runs, waits for its turn, or stands."""
    stage.begin(machine)
    for guest in machine.guests:
        domctl(machine.dom0, abi.XEN_DOMCTL_destroydomain, guest.id)
    guest = create_guest(machine, nr_vcpus=3)
    machine.guests = [guest]
    up, down = (call("vcpu_op", number, 2, 0) for number in (abi.VCPUOP_up, abi.VCPUOP_down))
    stage.must(guest, down)
    waiting = guest.vcpu(2).sched
    waiting.affinity = 1 << guest.vcpu(0).processor  # where it waits for its turn
    waiting.virtual_runtime = 1 << 40
    race = Race(machine, {"A": Racer(guest, [up, down]), "B": Racer(guest, [up], vcpu=1)})

    def okay(results):
        check_sched(machine)
        return results == {"A": (0, 0), "B": (0,)}

    expect(race, okay)


def test_a_poll_that_begins_as_another_ends(machine):
    """Two guests wake a vCPU at once; it polls again before the second is done with that, and is
    woken from its second poll as well.
    """
    poller, other, dom0 = stage.begin(machine)
    place = [guest.vcpu().processor for guest in (poller, dom0, other)]
    others = [dom0, other]
    if (place[1] - place[0]) % 4 > (place[2] - place[0]) % 4:
        others.reverse()  # so that the first is whose turn it is when the poller sleeps
    channels = [connect(poller, guest) for guest in (others[0], others[0], others[1])]
    for port, _ in channels[:2]:
        poller.domain.shared_info.evtchn_mask[0] |= 1 << port
    sends = [send(others[n // 2], port) for n, (_, port) in enumerate(channels)]
    racers = {
        "A": Racer(others[0], sends[:2]),
        "B": Racer(poller, [poll(poller, port) for port, _ in channels[:2]]),
        "C": Racer(others[1], sends[2:]),
    }
    race = Race(machine, racers)
    for schedule, outcome in explore(race, 3, lambda schedules: twice_woken(race, schedules)):
        assert not outcome.panic and outcome.results["B"] == (0, 0), race.explain(schedule)


def twice_woken(race, schedules):
    """Return the schedules by which A, as it wakes B, gives way to C, gets its turn back where C is
    nearly done, and gives way to B.
    """
    wanted = [("A", "C"), ("C", "A"), ("A", "B")]
    where = {(access.racer, access.number): race.where(access) for access in race.accesses()[::-1]}
    found = [
        schedule
        for schedule in schedules
        if [(stop.racer, stop.to) for stop in schedule.stops] == wanted[: len(schedule.stops)]
    ]
    if found and found[0].stops[-1].racer == "C":
        return found[-4:]
    return [schedule for schedule in found if "vcpu_unblock" in where[schedule.stops[-1][:2]]]


def connect(guest, peer):
    """Connect two guests; return their ports."""
    at = guest.put(abi.evtchn_alloc_unbound, dom=abi.DOMID_SELF, remote_dom=peer.id)
    stage.must(guest, call("event_channel_op", abi.EVTCHNOP_alloc_unbound, at))
    port = guest.get(abi.evtchn_alloc_unbound, at).port
    at = peer.put(abi.evtchn_bind_interdomain, remote_dom=guest.id, remote_port=port)
    stage.must(peer, call("event_channel_op", abi.EVTCHNOP_bind_interdomain, at))
    return port, peer.get(abi.evtchn_bind_interdomain, at).local_port


def send(guest, port):
    return call("event_channel_op", abi.EVTCHNOP_send, guest.put(abi.evtchn_send, port=port))


def poll(guest, port):
    fields = {"ports": guest.put(port.to_bytes(8, "little")), "nr_ports": 1}
    return call("sched_op", abi.SCHEDOP_poll, guest.put(abi.sched_poll, **fields))
