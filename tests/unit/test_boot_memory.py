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


RAM, RESERVED, ACPI, UNUSABLE = 1, 2, 3, 5


def settled(program, entries):
    """Return the machine's map, as (first page, end, kind), and the free pages."""
    program.nr_firmware_regions.value = program.nr_regions.value = 0
    for first, end, kind in entries:
        program.add_region(first * PAGE, (end - first) * PAGE, kind)
    program.settle_memory_map()
    regions = [program.memory_map[i] for i in range(program.nr_regions.value)]
    return [(r.start // PAGE, r.end // PAGE, r.kind) for r in regions]


def test_the_map_is_sorted_and_joined(program):
    entries = [(500, 600, RAM), (300, 400, RAM), (400, 500, RAM), (0, 100, RAM), (700, 800, ACPI)]
    assert settled(program, entries) == [(0, 100, RAM), (300, 600, RAM), (700, 800, ACPI)]


def test_of_two_kinds_the_worse_counts(program):
    entries = [(256, 1000, RAM), (300, 400, RESERVED), (350, 450, ACPI), (990, 1100, UNUSABLE)]
    assert settled(program, entries) == [
        (256, 300, RAM),
        (300, 350, RESERVED),
        (350, 450, ACPI),
        (450, 990, RAM),
        (990, 1100, UNUSABLE),
    ]


@settings(max_examples=200, deadline=None)
@given(
    entries=st.lists(
        st.tuples(st.integers(256, 600), st.integers(1, 200), st.integers(1, 6)), max_size=12
    )
)
def test_every_page_is_what_the_worst_entry_says(program, entries):
    """A dictionary of pages is the model."""
    model = {}
    for first, count, kind in entries:
        for page in range(first, first + count):
            model[page] = max(model.get(page, 0), kind)
    regions = settled(program, [(first, first + count, kind) for first, count, kind in entries])
    assert {page: kind for first, end, kind in regions for page in range(first, end)} == model
    ends = [end for _, end, _ in regions]
    assert [first for first, _, _ in regions] == sorted(first for first, _, _ in regions)
    assert all(a <= b for a, (b, _, _) in zip(ends, regions[1:], strict=False))


@pytest.mark.parametrize(
    ("entries", "page"),
    [
        ([(0, 0x9F, RAM)], 8),
        ([(0, 8, RAM), (0x20, 0x30, RAM)], 1),
        ([(0, 1, RAM), (0x20, 0x30, RAM)], 0x20),
    ],
)
def test_where_the_other_processors_start(program, entries, page):
    settled(program, entries)
    assert program.low_ram_page() == page * PAGE


def test_a_machine_without_low_ram_is_refused(program):
    settled(program, [(0, 0x100, RESERVED), (0x100, 0x200, RAM)])
    with pytest.raises(jit.KpyPanic, match="no RAM in the first MiB"):
        program.low_ram_page()
