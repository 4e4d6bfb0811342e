"""The call before each access to shared memory: at which accesses, and with which address."""

import kpy.jit
import pytest
from kpy.lower.switch_points import SwitchPoints

HOOK = "def before(site: u32, address: u64) -> None: ...\n"
ACCESSES = """
@struct
class Thing:
    low: u32
    high: u32
    list: Array[u64, 4]
total = static(u64)
things = static(Array[Thing, 2])
def local(x: u64) -> u64:
    values: Array[u64, 2] = [x, x + 1]
    values[1] += 1
    return values[0] + values[1]
def plain(p: Ptr[Thing]) -> u32:
    p.low = 7
    return p.high
def changes(p: Ptr[Thing], i: u64) -> None:
    global total
    total += 1
    p.list[i] |= 2
def atomics(p: Ptr[Thing]) -> bool:
    old = atomic_load(ref(p.low))
    atomic_store(ref(p.high), old)
    atomic_add(ref(p.list[1]), 5)
    _, done = atomic_cas(ref(p.low), old, old + 1)
    return done
def whole(p: Ptr[Thing], q: Ptr[Thing]) -> None:
    things[1] = load(p)
    zero(q)
def each(p: Ptr[Thing]) -> u64:
    found: u64 = 0
    for value in p.list:
        found += value
    return found
"""


@pytest.fixture
def watched(module):
    """The program, the noted accesses as (kind, address), and how to watch."""
    name, hooks = module(ACCESSES), module(HOOK)
    points, noted = SwitchPoints(f"{hooks}.before", (name,)), []

    def before(site, address):
        noted.append((points.sites[site], address))

    program = kpy.jit.load(name, {f"{hooks}.before": before}, switch_points=points)
    program.noted = noted
    program["kpy.lower.switch_flag.is_watched"].value = 1
    return program


def offsets(program, base):
    """Take what was noted: kinds, and offsets from an address."""
    found = [(site.kind, address - int(base)) for site, address in program.noted]
    program.noted.clear()
    return found


def test_local_variables_are_nobody_elses(watched):
    assert watched.local(3) == 8
    assert watched.noted == []


def test_loads_and_stores(watched):
    thing = watched.things[0]
    thing.high = 9
    assert watched.plain(thing) == 9
    assert offsets(watched, thing) == [("store", 0), ("load", 4)]


def test_a_change_is_a_load_and_a_store(watched):
    thing = watched.things[1]
    watched.changes(thing, 2)
    assert offsets(watched, thing)[2:] == [("load", 24), ("store", 24)]
    assert watched.total.value == 1
    watched.changes(thing, 2)
    assert [site.kind for site, _ in watched.noted[:2]] == ["load", "store"]
    assert {address for _, address in watched.noted[:2]} == {int(watched.total)}


def test_atomics(watched):
    thing = watched.things[0]
    assert watched.atomics(thing) is True
    expected = [("load", 0), ("store", 4), ("atomic", 16), ("atomic", 0)]
    assert offsets(watched, thing) == expected


def test_whole_structs(watched):
    first, second = watched.things
    first.low, first.list[3] = 4, 5
    watched.whole(first, first)
    assert offsets(watched, first) == [
        ("load", 0),
        ("store", int(second) - int(first)),
        ("store", 0),
    ]
    assert (second.low, second.list[3], first.low) == (4, 5, 0)


def test_elements_of_a_loop(watched):
    thing = watched.things[0]
    watched.each(thing)
    assert offsets(watched, thing) == [("load", 8 + 8 * i) for i in range(4)]


def test_the_hook_comes_before_the_access(module):
    """What it writes is what the access finds."""

    def meddle(site, address):
        thing.high = 77

    name, hooks = module(ACCESSES), module(HOOK)
    points = SwitchPoints(f"{hooks}.before", (name,))
    program = kpy.jit.load(name, {f"{hooks}.before": meddle}, switch_points=points)
    thing = program.things[0]
    assert program.plain(thing) == 0, "nobody watches"
    program["kpy.lower.switch_flag.is_watched"].value = 1
    assert program.plain(thing) == 77


def test_sites_tell_where(watched):
    watched.plain(watched.things[0])
    site = watched.noted[0][0]
    assert site.function == "plain"
    assert ACCESSES.strip().splitlines()[site.line - 2] == "    p.low = 7"
