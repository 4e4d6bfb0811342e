"""The fuzzer itself, its small corpus, and a short run of it."""

import pathlib
import random
import time

import abi
import pytest

from tests.fuzz import program as programs
from tests.fuzz import worker
from tests.fuzz.__main__ import options_of
from tests.fuzz.engine import minimise
from tests.fuzz.mutate import Maker
from tests.fuzz.program import CALL, RACE, READ, WRITE, action, changed
from tests.fuzz.worker import Worker, ending
from tests.model.guest import BASE, FIRST_DATA_PAGE, PAGE

CORPUS = sorted((pathlib.Path(__file__).parent / "corpus").glob("*.prog"))
DATA = BASE + FIRST_DATA_PAGE * PAGE
ACTOR = 1  # of the first guest
FIRST_OF_2, SECOND_OF_2 = 2, 3  # both of the second guest
VERSION = action(CALL, ACTOR, abi.__HYPERVISOR_xen_version, [abi.XENVER_version])
SHORT_CALLS = 100_000
CHECKED_OF_CORPUS = 8  # one in so many programs is checked in full, which takes long


def send(port):
    data = port.to_bytes(8, "little")
    number = abi.__HYPERVISOR_event_channel_op
    return action(CALL, ACTOR, number, [abi.EVTCHNOP_send, DATA], data, DATA)


def test_an_action_is_what_it_was_made_of(tmp_path):
    made = action(CALL, 3, 26, [1, 2, -3], b"data of odd length", DATA, choices=5)
    p = programs.parts(made)
    assert (p.kind, p.actor, p.number, p.at, p.choices) == (CALL, 3, 26, DATA, 5)
    assert p.args == [1, 2, (1 << 64) - 3, 0, 0] and p.data == b"data of odd length"
    programs.save(tmp_path / "x.prog", [made, VERSION], ["what was wrong"])
    assert programs.load(tmp_path / "x.prog") == [made, VERSION]
    assert "xen_version(0x0" in programs.show(VERSION, [(0, 0), (1, 0)])


def test_a_program_runs_from_the_beginning_each_time(engine):
    writes = action(WRITE, ACTOR, data=b"12345678", at=DATA)
    reads = action(READ, ACTOR, args=[DATA])
    found = []
    for program in (
        [writes, VERSION, send(1), reads],
        [VERSION],
        [writes, VERSION, send(1), reads],
    ):
        assert engine.run(program, is_thorough=True) is None
        found.append(bytes(engine.counts))
    assert found[0] == found[2] != found[1]
    assert engine.nr_calls == 5 and engine.nr_runs == 3


def test_racers_go_on_where_the_program_says(world, engine):
    """Who begins writes first; and a call stops before an access for the other racer."""
    page = world.guests[2].pages[FIRST_DATA_PAGE]
    racers = [action(WRITE, a, data=bytes([a]) * 8, at=DATA) for a in (FIRST_OF_2, SECOND_OF_2)]
    for first, last in ((0, SECOND_OF_2), (1, FIRST_OF_2)):
        head = action(RACE, FIRST_OF_2, 2, [0, 0, 0, 0, first])
        assert engine.run([head, *racers]) is None
        assert world.machine.memory.page(page)[0] == int.from_bytes(bytes([last]) * 8, "little")
    call = changed(VERSION, actor=FIRST_OF_2)
    stops = action(RACE, FIRST_OF_2, 2, [1 | 1 << 24])
    assert engine.run([stops, call, racers[1]]) is None
    met = [
        world.machine[f"tests.fuzz.runner.{name}"].value for name in ("nr_races", "nr_stops_met")
    ]
    assert met == [1, 1] and engine.nr_calls == 1


def test_the_trace_tells_what_calls_returned(engine):
    outcomes = [result for _, result, _ in engine.trace([VERSION, send(4000)])]
    assert outcomes == [4 << 16 | 17, -abi.EINVAL]


def test_novelty_is_what_no_run_reached_before(engine):
    engine.run([VERSION])
    new = engine.novelty()
    assert new
    engine.seen |= new
    engine.run([VERSION])
    assert engine.novelty() == 0
    engine.run([send(1)])
    assert engine.novelty() != 0


def break_references(machine, guest):
    machine.frame(guest.pages[FIRST_DATA_PAGE]).info += 1


def break_types(machine, guest):
    machine.frame(guest.pages[FIRST_DATA_PAGE]).info -= 1 << 32


def map_a_table_writable(machine, guest):
    machine.memory.page(guest.pages[3])[3] |= 2


def map_anothers_frame(machine, guest):
    machine.frame(guest.pages[FIRST_DATA_PAGE]).owner = 2


def keep_a_translation(machine, guest):
    guest.write(DATA, b"known to the TLB")
    machine.frame(guest.pages[FIRST_DATA_PAGE]).owner = 2
    machine.memory.page(guest.pages[3])[FIRST_DATA_PAGE] = 0
    machine.frame(guest.pages[FIRST_DATA_PAGE]).info -= 1 << 32 | 1


def keep_an_upper_entry(machine, guest):
    guest.write(DATA, b"known to the caches")
    for cpu in machine["tests.model.processors.cpus"]:
        for entry in cpu.upper:
            if entry.table == guest.pages[3]:
                entry.table = guest.pages[FIRST_DATA_PAGE]


HARM = {
    break_references: "other users than counted",
    break_types: "other users",
    map_a_table_writable: "used as another type",
    map_anothers_frame: "nobody granted",
    keep_a_translation: "still reaches",
    keep_an_upper_entry: "still walk through",
}


@pytest.mark.parametrize("harm", HARM)
def test_the_audit_sees_harm(world, engine, harm):
    engine.begin()
    audit = world.machine["tests.fuzz.audit.audit"]
    audit()
    harm(world.machine, world.guests[1])
    finding = engine.guarded(audit)
    assert finding and HARM[harm] in finding.what


def test_a_finding_is_minimised():
    program = [action(CALL, number=n) for n in range(40)]
    wanted = {program[3], program[30]}
    assert set(minimise(program, lambda p: wanted <= set(p))) == wanted


def test_a_hang_is_noticed(monkeypatch):
    monkeypatch.setattr(worker, "TRY_S", 1)
    assert ending(lambda: None) == ""
    assert ending(spin) == "the core hangs"


def spin():
    while True:
        time.sleep(0.01)


def test_every_program_can_be_made_and_changed(world):
    """Whatever is drawn can be encoded, decoded and shown; a hostile guest never acts as dom0."""
    maker = Maker(random.Random(random.getrandbits(32)), world)
    old = maker.program()
    for _ in range(200):
        new = maker.mutant(old, maker.program())
        assert new
        for item in new:
            p = programs.parts(item)
            assert action(*p) == item and programs.show(item, world.actors)
        old = new


def test_the_corpus_shows_nothing(engine):
    for number, path in enumerate(CORPUS):
        is_thorough = number % CHECKED_OF_CORPUS == 0
        finding = engine.run(programs.load(path), 4, is_thorough)
        assert finding is None, f"make fuzz REPLAY={path}: {finding}"


def test_a_short_run_finds_nothing(world, tmp_path, capsys):
    also = str(CORPUS[0].parent) if CORPUS else str(tmp_path)
    arguments = ["--count", str(SHORT_CALLS), "--folder", str(tmp_path), "--also", also]
    options = options_of([*arguments, "--seed", str(random.getrandbits(32))])
    fuzzer = Worker(options, world)
    assert fuzzer.work() == 0, capsys.readouterr().out
    assert fuzzer.engine.nr_calls >= SHORT_CALLS


def test_a_hostile_toolstack_finds_no_panic(world, tmp_path, capsys):
    arguments = ["--count", str(SHORT_CALLS // 4), "--folder", str(tmp_path), "--toolstack"]
    options = options_of([*arguments, "--seed", str(random.getrandbits(32))])
    assert Worker(options, world).work() == 0, capsys.readouterr().out
