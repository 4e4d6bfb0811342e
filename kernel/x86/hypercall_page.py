"""The hypercall page: 32 bytes of code for each hypercall, so that a guest need not know how to
enter the core.

Source: Xen public ABI, xen.h ("Hypercall page"). rcx and r11, which `syscall` destroys, are saved
around it; the iret entry leaves rax, r11 and rcx on the stack for struct iret_context.
"""

import abi
from kpy import Ptr, Slice, copy_slice, fill, store, truncate, u8, u32, u64

from kernel.base.ids import PAGE_SIZE, Vaddr

ENTRY_BYTES = 32
NR_ENTRIES = 128
INT3 = 0xCC
PLAIN = bytes.fromhex(
    "51 4153 b800000000 0f05 415b 59 c3"
)  # push rcx, r11; mov eax, n; syscall; pop r11, rcx; ret
PLAIN_NUMBER = 4
IRET = bytes.fromhex("51 4153 50 b800000000 0f05")  # push rcx, r11, rax; mov eax, n; syscall
IRET_NUMBER = 5


def fill_hypercall_page(page: Vaddr) -> None:
    """Write the code into a page that the caller owns."""
    fill(Slice[u8](Ptr[u8](u64(page)), PAGE_SIZE), INT3)
    for number in range(NR_ENTRIES):
        entry = u64(page) + number * ENTRY_BYTES
        if number == abi.__HYPERVISOR_iret:
            write_stub(entry, IRET, IRET_NUMBER, number)
        else:
            write_stub(entry, PLAIN, PLAIN_NUMBER, number)


def write_stub(entry: u64, code: Slice[u8], number_offset: u64, number: u64) -> None:
    """Write one stub, with its number in the `mov`."""
    copy_slice(Slice[u8](Ptr[u8](entry), len(code)), code)
    store(Ptr[u32](entry + number_offset), truncate(u32, number))
