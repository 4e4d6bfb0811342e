"""Memory at boot: what is taken never overlaps, and nothing of RAM gets lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kpy import jit

PAGE = 4096
RAM_END = 1 << 30


@pytest.fixture(scope="module")
def program():
    return jit.load("kernel.x86.bootmem")


def start_over(program, ranges):
    program.nr_free_ranges.value = 0
    for start, end in ranges:
        program.add_free_range(start, end)


def free_bytes(program):
    ranges = program.free_ranges
    return {
        (ranges[i].start, ranges[i].end)
        for i in range(program.nr_free_ranges.value)
        if ranges[i].end > ranges[i].start
    }


pages = st.integers(256, 4096)
stretches = st.lists(st.tuples(pages, st.integers(1, 300)), max_size=12)


@settings(max_examples=200, deadline=None)
@given(stretches=stretches)
def test_reserve_takes_exactly_what_it_is_told(program, stretches):
    """A set of page numbers is the model."""
    start_over(program, [(1 << 20, 16 << 20)])
    model = set(range(256, 4096))
    for first, count in stretches:
        program.reserve(first * PAGE, (first + count) * PAGE)
        model -= set(range(first, first + count))
    got = set()
    for start, end in free_bytes(program):
        part = set(range(start // PAGE, end // PAGE))
        assert not part & got
        got |= part
    assert got == model


def test_partial_pages_of_ram_are_not_free(program):
    start_over(program, [((1 << 20) + 1, (1 << 20) + 3 * PAGE - 1)])
    assert free_bytes(program) == {((1 << 20) + PAGE, (1 << 20) + 2 * PAGE)}


def test_partial_pages_that_are_reserved_are_taken_whole(program):
    start_over(program, [(1 << 20, 2 << 20)])
    program.reserve((1 << 20) + 5, (1 << 20) + PAGE + 5)
    assert free_bytes(program) == {((1 << 20) + 2 * PAGE, 2 << 20)}


def test_the_low_mebibyte_is_never_free(program):
    start_over(program, [(0, 0x9F000), (0x100000, 0x200000)])
    assert free_bytes(program) == {(0x100000, 0x200000)}


def test_regions_are_sorted(program):
    program.nr_regions.value = 0
    for start in (5, 1, 4, 2, 3):
        program.insert_region(start * PAGE, (start + 1) * PAGE, 1)
    assert [program.memory_map[i].start // PAGE for i in range(5)] == [1, 2, 3, 4, 5]
