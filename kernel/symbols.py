"""The core's own symbol table: names of functions by address, for backtraces.

`symbol_table` is the work of the linking step (`kernel/symbol_table.py`): sorted records of u32
address - IMAGE_VIRT_START and u32 offset of the name in the text behind them, closed by a record
that holds the end of the code; names end with a zero byte.
"""

from kpy import Ptr, Slice, load, ref, static, u8, u32, u64

from kernel.x86.memlayout import IMAGE_VIRT_START

symbol_table_start = static(u8, extern=True, symbol="symbol_table_start")
symbol_table_end = static(u8, extern=True, symbol="symbol_table_end")

RECORD_BYTES = 8


def word(offset: u64) -> u64:
    """Return a u32 of the table; it lies inside, as the linking step made it."""
    return u64(load(Ptr[u32](u64(ref(symbol_table_start)) + offset)))


def find_symbol(address: u64) -> tuple[bool, Slice[u8], u64]:
    """Find the function that holds a code address.

    Returns: whether there is one, its name, and the offset in it.
    """
    none = Slice[u8](ref(symbol_table_start), 0)
    if u64(ref(symbol_table_end)) == u64(ref(symbol_table_start)) or address < IMAGE_VIRT_START:
        return False, none, 0
    nr_records = word(0)
    target = address - IMAGE_VIRT_START
    if target < word(RECORD_BYTES) or target >= word(nr_records * RECORD_BYTES):
        return False, none, 0
    low: u64 = 1
    high = nr_records
    while high - low > 1:
        middle = (low + high) // 2
        if word(middle * RECORD_BYTES) <= target:
            low = middle
        else:
            high = middle
    return True, name_at(word(low * RECORD_BYTES + 4)), target - word(low * RECORD_BYTES)


def name_at(offset: u64) -> Slice[u8]:
    """Return the name that begins at an offset of the table."""
    start = Ptr[u8](u64(ref(symbol_table_start)) + offset)
    length: u64 = 0
    while load(Ptr[u8](u64(start) + length)) != 0:
        length += 1
    return Slice[u8](start, length)
