"""The buddy allocator: blocks never overlap, nothing gets lost, neighbours join again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.memory_machine import END, FIRST, NR_FRAMES, MemoryMachine

ANY_ZONE = (1 << 16) - 1
steps = st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 1000)), max_size=60)


@pytest.fixture(scope="module")
def machine():
    return MemoryMachine("kernel.frames.heap")


def blocks(machine):
    """Return the free blocks as (first frame, order), found by their heads in the frame table."""
    free = 1 << 28
    heads = [mfn for mfn in range(FIRST, END) if machine.frame(mfn).info & free]
    return {(mfn, machine.frame(mfn).order) for mfn in heads}


@settings(max_examples=60, deadline=None)
@given(steps=steps)
def test_blocks_never_overlap(machine, steps):
    """Blocks are taken and given at random; a set of frames is the model."""
    machine.start_over()
    at_first = blocks(machine)
    taken = {}
    for take, order, choice in steps:
        if take:
            mfn = machine["kernel.frames.heap.take_block"](order, ANY_ZONE)
            if mfn is not None:
                frames = set(range(mfn, mfn + (1 << order)))
                assert mfn % (1 << order) == 0 and frames <= set(range(FIRST, END))
                assert not any(frames & other for other in taken.values())
                taken[mfn, order] = frames
        elif taken:
            mfn, order = sorted(taken)[choice % len(taken)]
            machine["kernel.frames.heap.give_block"](mfn, order, 0)
            del taken[mfn, order]
        assert machine.nr_free == NR_FRAMES - sum(map(len, taken.values()))
    for mfn, order in taken:
        machine["kernel.frames.heap.give_block"](mfn, order, 0)
    assert blocks(machine) == at_first


def test_runs_out(machine):
    machine.start_over()
    for _ in range(NR_FRAMES):
        assert machine["kernel.frames.heap.take_block"](0, ANY_ZONE) is not None
    assert machine["kernel.frames.heap.take_block"](0, ANY_ZONE) is None
    assert machine.nr_free == 0


def test_no_block_in_the_wanted_zones(machine):
    machine.start_over()
    assert machine["kernel.frames.heap.take_block"](0, ANY_ZONE & ~1) is None


@pytest.mark.parametrize(
    ("bits", "zones"),
    [(0, ANY_ZONE), (12, 0), (23, 0), (24, 1), (25, 3), (32, 0x1FF), (39, 0xFFFF), (64, ANY_ZONE)],
)
def test_zones_below_an_address_limit(machine, bits, zones):
    assert machine["kernel.frames.heap.zones_below"](bits) == zones


def test_freed_frames_rest_longest(machine):
    """A frame that was just freed is the last to be used again: its translations grow old."""
    machine.start_over()
    taken = [machine["kernel.frames.heap.take_block"](0, ANY_ZONE) for _ in range(NR_FRAMES)]
    for mfn in taken[::2]:
        machine["kernel.frames.heap.give_block"](mfn, 0, 7)
    assert machine["kernel.frames.heap.take_block"](0, ANY_ZONE) == taken[0]
    assert machine.frame(taken[0]).stamp == 7


def test_joined_blocks_keep_the_latest_stamp(machine):
    machine.start_over()
    mfn = machine["kernel.frames.heap.take_block"](1, ANY_ZONE)
    machine["kernel.frames.heap.give_block"](mfn, 0, 5)
    machine["kernel.frames.heap.give_block"](
        mfn + 1, 0, (1 << 32) - 1
    )  # before 5: the clock wrapped
    assert all(machine.frame(mfn).stamp in (0, 5) for mfn, _ in blocks(machine))


@pytest.mark.parametrize("clock", [100, (1 << 31) + 100, (1 << 32) - 1])
def test_memory_never_mapped_is_the_oldest(machine, clock):
    """A frame that was just unmapped joins others with stamp 0."""
    machine.start_over()
    machine.tlb_clock = clock
    mfn = machine["kernel.frames.heap.take_block"](0, ANY_ZONE)
    machine["kernel.frames.heap.give_block"](mfn, 0, clock - 1)
    assert any(machine.frame(head).stamp == clock - 1 for head, _ in blocks(machine))


def test_blocks_join_only_with_what_the_table_describes(machine):
    """Behind its end there is no frame, whatever lies there."""
    machine.start_over()
    whole = NR_FRAMES.bit_length() - 1
    assert machine["kernel.frames.heap.take_block"](whole, ANY_ZONE) == FIRST
    beyond = machine.frame(END)
    beyond.info, beyond.order = 1 << 28, whole
    try:
        machine["kernel.frames.heap.give_block"](FIRST, whole, 0)
        assert blocks(machine) == {(FIRST, whole)}
    finally:
        beyond.info = beyond.order = 0
