"""Validation and release of page tables: counts always add up, however often a walk is stopped."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.memory_machine import NR_FRAMES, PARTIAL, WRITABLE
from tests.unit.table_machine import (
    EBUSY,
    EINVAL,
    ERESTART,
    PRESENT,
    USER,
    WRITE,
    TableMachine,
)

NR_TABLES = 16
READ_ONLY = PRESENT | USER
READ_WRITE = PRESENT | USER | WRITE
PAT = 1 << 7
DYING = 1


@pytest.fixture(scope="module")
def machine():
    return TableMachine()


@pytest.fixture
def fresh(machine):
    machine.start_over()
    return machine


def link(machine, table, index, frame, flags=READ_WRITE):
    machine.set_entry(table, index, frame << 12 | flags)


def tree(machine):
    """Make an L4 over one table of each level and a page of data; return the five frames."""
    l4, l3, l2, l1, data = (machine.alloc(machine.domain) for _ in range(5))
    link(machine, l4, 0, l3)
    link(machine, l3, 1, l2)
    link(machine, l2, 2, l1)
    link(machine, l1, 3, data)
    return l4, l3, l2, l1, data


def test_a_whole_tree(fresh):
    frames = l4, l3, l2, l1, data = tree(fresh)
    assert fresh.pin(l4, 4) == 0
    fresh.check(frames)
    assert [fresh.counts(mfn)[1] for mfn in frames] == [4, 3, 2, 1, WRITABLE]
    assert fresh.pin(l4, 4) == EINVAL, "pinned already"
    assert fresh.unpin(l4) == 0
    fresh.check(frames)
    assert all(fresh.counts(mfn) == (1, 0, 0) for mfn in frames)


def test_a_page_table_is_never_writable(fresh):
    frames = l4, l3, l2, l1, data = tree(fresh)
    link(fresh, l1, 4, l2, READ_ONLY)
    assert fresh.pin(l4, 4) == 0
    for table in (l4, l3, l2, l1):
        assert fresh.update(l1, 5, table << 12 | READ_WRITE) == EBUSY
        assert fresh.update(l1, 5, table << 12 | READ_ONLY) == 0
        assert fresh.update(l1, 5, table << 12 | READ_WRITE) == EBUSY
    fresh.check(frames)


def test_a_writable_frame_is_never_a_page_table(fresh):
    frames = l4, l3, l2, l1, data = tree(fresh)
    assert fresh.pin(l1, 1) == 0
    assert fresh.pin(data, 1) == EINVAL
    assert fresh.update(l1, 3, data << 12 | READ_ONLY) == 0
    assert fresh.pin(data, 1) == 0
    fresh.check(frames)


@pytest.mark.parametrize("level", [2, 3, 4])
def test_no_table_that_maps_itself(fresh, level):
    table = fresh.alloc(fresh.domain)
    link(fresh, table, 7, table, READ_ONLY)
    assert fresh.pin(table, level) == EINVAL
    fresh.put_old()
    assert fresh.counts(table) == (1, 0, 0)


@pytest.mark.parametrize("flags", [PAT | READ_ONLY, 1 << 3 | READ_ONLY, 1 << 4 | READ_ONLY])
def test_bits_that_no_guest_may_set(fresh, flags):
    frames = l4, l3, l2, l1, data = tree(fresh)
    link(fresh, l1, 9, data, flags)
    assert fresh.pin(l4, 4) == EINVAL
    fresh.put_old()
    fresh.check(frames)
    assert fresh.counts(l1) == (1, 0, 0) and fresh.counts(data) == (1, 0, 0)


def test_the_core_s_slots(fresh):
    l4, l3, *_ = tree(fresh)
    link(fresh, l4, 256, l3)
    assert fresh.pin(l4, 4) == 0
    assert fresh.counts(l3)[2] == 1, "what the guest wrote there does not count"
    assert fresh.update(l4, 271, l3 << 12 | READ_WRITE) == EINVAL
    assert fresh.update(l4, 272, l3 << 12 | READ_WRITE) == 0


def test_foreign_frames(fresh):
    l4, l3, l2, l1, data = tree(fresh)
    other = fresh.new_domain(2)
    foreign = fresh.alloc(other)
    assert fresh.pin(l4, 4) == 0
    assert fresh.update(l1, 8, foreign << 12 | READ_ONLY) == EBUSY
    assert fresh.update(l2, 8, foreign << 12 | READ_ONLY) == EINVAL
    assert fresh.counts(foreign) == (1, 0, 0)


def test_resumes_where_it_stopped(fresh):
    frames = tree(fresh)
    fresh.stops = [False, True, False, True]
    calls = 1
    while fresh.pin(frames[0], 4) == ERESTART:
        fresh.check(frames)
        calls += 1
    assert calls > 1
    fresh.check(frames)


def test_another_finishes_a_partial_child(fresh):
    """The parent forgets about it, also where it stops next: behind its last entry."""
    l4, l3, l2, l1, data = tree(fresh)
    link(fresh, l3, 1, 0, 0)
    link(fresh, l3, 511, l2)
    fresh.stops = [True]
    assert fresh.pin(l3, 3) == ERESTART
    assert fresh.pin(l2, 2) == 0
    fresh.stops = [True]
    assert fresh.pin(l3, 3) == ERESTART
    fresh.domain.is_dying = DYING
    while fresh["kernel.domain.relinquish.relinquish_memory"](fresh.domain) == ERESTART:
        pass
    assert fresh.nr_free == NR_FRAMES


def test_flags_change_without_counting(fresh):
    frames = l4, l3, l2, l1, data = tree(fresh)
    assert fresh.pin(l4, 4) == 0
    accessed_dirty_nx = 1 << 5 | 1 << 6 | 1 << 63
    assert fresh.update(l1, 3, data << 12 | READ_WRITE | accessed_dirty_nx) == 0
    assert fresh.entry(l1, 3) == data << 12 | READ_WRITE | accessed_dirty_nx
    assert fresh.update(l1, 3, data << 12 | PRESENT | 1 << 8) == 0
    assert fresh.entry(l1, 3) == data << 12 | READ_ONLY, "user always, global never"
    fresh.check(frames)


entries = st.tuples(
    st.integers(0, NR_TABLES - 1),
    st.sampled_from([0, 1, 2, 3, 255, 256, 511]),
    st.integers(0, NR_TABLES + 3),
    st.sampled_from([0, READ_ONLY, READ_ONLY, READ_WRITE, READ_WRITE, READ_ONLY | PAT]),
)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("pin"), st.integers(0, NR_TABLES - 1), st.integers(0, 1)),
        st.tuples(st.just("unpin"), st.integers(0, NR_TABLES - 1), st.just(0)),
        st.tuples(st.just("update"), entries, st.just(0)),
        st.tuples(st.just("abandon"), st.integers(0, NR_TABLES - 1), st.just(0)),
    ),
    max_size=25,
)


def level_of(number):
    """Tell which level a table is meant for: four of each."""
    return number % 4 + 1


def build(machine, frames):
    """Link four trees that share their parts: each table leads to two of the level below."""
    for number in range(NR_TABLES):
        first = number // 4 * 4
        for index, column in ((1, first), (510, (first + 4) % NR_TABLES)):
            below = column + level_of(number) - 2
            data = NR_TABLES + number // 4
            link(machine, frames[number], index, frames[below if level_of(number) > 1 else data])


def target_of(frames, number, target):
    """Choose the frame of an entry: mostly a table of the level below, sometimes anything."""
    level = level_of(number)
    if target >= NR_TABLES or level == 1:
        return frames[target]
    return frames[target // 4 * 4 + level - 2]


@settings(max_examples=120, deadline=None)
@given(
    contents=st.lists(entries, max_size=6),
    todo=operations,
    stops=st.lists(st.booleans(), min_size=5, max_size=60),
)
def test_counts_add_up(machine, contents, todo, stops):
    """Tables with random entries are pinned, changed and unpinned, stopped at random, and die."""
    machine.start_over()
    frames = [machine.alloc(machine.domain) for _ in range(NR_TABLES + 4)]
    build(machine, frames)
    for number, index, target, flags in contents:
        link(machine, frames[number], index, target_of(frames, number, target), flags)
    machine.stops = list(stops)
    for action in todo:
        machine.put_old()
        perform(machine, frames, *action)
        machine.check(frames)
        machine.put_old()
        machine.check(frames)
        if not any(name == "abandon" for name, *_ in todo):
            assert not any(machine.frame(mfn).info & PARTIAL for mfn in frames), "left half done"
    machine.domain.is_dying = DYING
    while machine["kernel.domain.relinquish.relinquish_memory"](machine.domain) == ERESTART:
        pass
    assert machine.nr_free == NR_FRAMES and machine.domain.refcount == 1


def perform(machine, frames, action, argument, wrong):
    """Do one random operation; all but "abandon" are repeated until they are through."""
    if action == "pin":
        finish(machine, machine.pin, frames[argument], level_of(argument + wrong))
    elif action == "abandon":
        machine.pin(frames[argument], level_of(argument))
    elif action == "unpin":
        machine.unpin(frames[argument])
    else:
        number, index, target, flags = argument
        value = target_of(frames, number, target) << 12 | flags
        finish(machine, machine.update, frames[number], index, value)


def finish(machine, call, *arguments):
    """Make a call again until it is through, as a guest does."""
    while call(*arguments) == ERESTART:
        machine.put_old()
