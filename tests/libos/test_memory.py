"""The page allocator and the heap, against sets of what is taken."""

import ctypes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kpy import jit

PAGE = 4096
NR_PAGES = 64


class Pages:
    """The allocator over a host buffer that stands for pages 0 to NR_PAGES - 1."""

    def __init__(self):
        self.buffer = ctypes.create_string_buffer((NR_PAGES + 1) * PAGE)
        self.base = (ctypes.addressof(self.buffer) + PAGE - 1) // PAGE * PAGE
        self.program = jit.load(
            "libos.pages",
            replace={
                "libos.layout.address_of": lambda pfn: self.base + pfn * PAGE,
                "libos.layout.pfn_of": lambda address: (address - self.base) // PAGE,
                "libos.memory.map_free_memory": lambda: (0, NR_PAGES),
            },
        )
        self.program.init_pages()


@pytest.fixture(scope="module")
def pages():
    return Pages()


@settings(max_examples=50)
@given(sizes=st.lists(st.integers(1, 8), max_size=12))
def test_pages_never_overlap_and_all_come_back(pages, sizes):
    taken, blocks = set(), []
    for size in sizes:
        if len(taken) + size > NR_PAGES:
            break
        address = pages.program.alloc_pages(size)
        block = set(range((address - pages.base) // PAGE, (address - pages.base) // PAGE + size))
        assert not block & taken and max(block) < NR_PAGES
        taken |= block
        blocks.append((address, size))
    for address, size in blocks:
        pages.program.free_pages(address, size)
    assert pages.program.alloc_pages(NR_PAGES) == pages.base
    pages.program.free_pages(pages.base, NR_PAGES)


def test_pages_are_zeroed(pages):
    address = pages.program.alloc_pages(1)
    ctypes.memset(address, 0xFF, PAGE)
    pages.program.free_pages(address, 1)
    assert ctypes.string_at(pages.program.alloc_pages(1), PAGE) == bytes(PAGE)
    pages.program.free_pages(address, 1)


def test_too_much_and_twice_are_panics(pages):
    with pytest.raises(jit.KpyPanic, match="out of memory"):
        pages.program.alloc_pages(NR_PAGES + 1)
    address = pages.program.alloc_pages(1)
    pages.program.free_pages(address, 1)
    with pytest.raises(jit.KpyPanic, match="page freed twice"):
        pages.program.free_pages(address, 1)


@pytest.fixture(scope="module")
def heap():
    kept = []

    def alloc_pages(count):
        kept.append(ctypes.create_string_buffer((count + 1) * PAGE))
        return (ctypes.addressof(kept[-1]) + PAGE - 1) // PAGE * PAGE

    replace = {"libos.pages.alloc_pages": alloc_pages, "libos.pages.free_pages": lambda a, n: None}
    return jit.load("libos.heap", replace=replace)


@settings(max_examples=50)
@given(sizes=st.lists(st.integers(1, 5000), max_size=40))
def test_blocks_are_aligned_zeroed_and_apart(heap, sizes):
    blocks = []
    for size in sizes:
        address = heap.allocate(size)
        alignment = min(1 << (max(size, 16) - 1).bit_length(), PAGE)
        assert address % alignment == 0
        assert ctypes.string_at(address, size) == bytes(size)
        assert all(address + size <= a or a + s <= address for a, s in blocks)
        ctypes.memset(address, 0xA5, size)
        blocks.append((address, size))
    for address, size in blocks:
        heap.release(address, size)


def test_a_freed_block_is_used_next(heap):
    block = heap.allocate(100)
    heap.release(block, 100)
    assert heap.allocate(128) == block
