"""The heap: blocks of 16 to 2048 bytes, one list of free blocks a size; larger ones are whole
pages.

The caller says at `release` how large the block was, so blocks need no header: `new(T)` and
`delete(p)` know it from the type.
"""

from kpy import Array, Ptr, Slice, TypeVar, clz, fill, load, sizeof, static, store, u8, u64

from libos.layout import PAGE_SIZE
from libos.pages import alloc_pages, free_pages

T = TypeVar("T")

SMALLEST_SHIFT = 4
NR_SIZES = 8
LARGEST = 1 << (SMALLEST_SHIFT + NR_SIZES - 1)

free_lists = static(
    Array[u64, NR_SIZES]
)  # address of the first free block; its first word is the next one's


def size_class(size: u64) -> u64:
    """The list whose blocks are just large enough."""
    rounded_up = 64 - clz(max(size, 1 << SMALLEST_SHIFT) - 1)
    return rounded_up - SMALLEST_SHIFT


def allocate(size: u64) -> u64:
    """Return `size` zeroed bytes, aligned to the next power of two (at most a page)."""
    if size > LARGEST:
        return alloc_pages((size + PAGE_SIZE - 1) // PAGE_SIZE)
    index = size_class(size)
    if free_lists[index] == 0:
        split_page(index)
    block = free_lists[index]
    free_lists[index] = load(Ptr[u64](block))
    fill(Slice[u8](Ptr[u8](block), size), 0)
    return block


def split_page(index: u64) -> None:
    page, size = alloc_pages(1), 1 << (SMALLEST_SHIFT + index)
    for i in range(PAGE_SIZE // size):
        put_block(index, page + i * size)


def put_block(index: u64, block: u64) -> None:
    store(Ptr[u64](block), free_lists[index])
    free_lists[index] = block


def release(block: u64, size: u64) -> None:
    """Give back what `allocate(size)` returned."""
    if size > LARGEST:
        free_pages(block, (size + PAGE_SIZE - 1) // PAGE_SIZE)
    else:
        put_block(size_class(size), block)


def new(type_: type[T]) -> Ptr[T]:
    """Allocate a zeroed T."""
    return Ptr[T](allocate(sizeof(T)))


def delete(pointer: Ptr[T]) -> None:
    release(u64(pointer), sizeof(T))
