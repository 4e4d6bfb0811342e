"""The program's own function names by address, for backtraces: a table that the build links in.

Sorted records of u32 address - text_start and u32 offset of the name from the table's start; a
first record that says how many records there are, a last one that ends the code. Names end with a
zero byte.
"""

from kpy import Ptr, Slice, load, ref, static, u8, u32, u64

text_start = static(u8, extern=True, symbol="text_start")
symbol_table_start = static(u8, extern=True, symbol="symbol_table_start")
symbol_table_end = static(u8, extern=True, symbol="symbol_table_end")

RECORD_BYTES = 8


def word(offset: u64) -> u64:
    """A u32 of the table; it lies inside, as the build made it."""
    return u64(load(Ptr[u32](u64(ref(symbol_table_start)) + offset)))


def find_symbol(address: u64) -> tuple[bool, Slice[u8], u64]:
    """Return whether a function holds the address, its name, and the offset in it."""
    nothing = Slice[u8](ref(symbol_table_start), 0)
    start = u64(ref(text_start))
    empty = u64(ref(symbol_table_end)) == u64(ref(symbol_table_start))
    if empty or address < start or address - start >= word(word(0) * RECORD_BYTES):
        return False, nothing, 0
    low: u64 = 1
    high = word(0)
    while high - low > 1:
        middle = (low + high) // 2
        if word(middle * RECORD_BYTES) <= address - start:
            low = middle
        else:
            high = middle
    name = name_at(word(low * RECORD_BYTES + 4))
    return True, name, address - start - word(low * RECORD_BYTES)


def name_at(offset: u64) -> Slice[u8]:
    start = u64(ref(symbol_table_start)) + offset
    length: u64 = 0
    while load(Ptr[u8](start + length)) != 0:
        length += 1
    return Slice[u8](Ptr[u8](start), length)
