"""Why a domain crashed: its registers, and a backtrace with the names from its own kernel file.

The guest's memory is read through its own page tables, of which nothing is trusted: a wild pointer
ends the backtrace.
"""

import logging
import struct
from array import array

from xen import domctl
from xen.privcmd import PAGE_SIZE, HypercallError

from xend.elf import Elf, NotAKernel
from xend.pagetables import PRESENT

FRAMES_MAX = 32
FRAME_MASK = (1 << 52) - 1 & ~(PAGE_SIZE - 1)
REGISTERS = [
    "rip",
    "rsp",
    "rflags",
    "cs",
    "ss",
    "rax",
    "rbx",
    "rcx",
    "rdx",
    "rsi",
    "rdi",
    "rbp",
    "r8",
    "r9",
    "r10",
    "r11",
    "r12",
    "r13",
    "r14",
    "r15",
    "error_code",
    "entry_vector",
]

log = logging.getLogger("xend")


class GuestMemory:
    """Reads a stopped guest's virtual memory, from the page table at machine frame `top_mfn`."""

    def __init__(self, xc, domid, top_mfn):
        self.xc, self.domid, self.top_mfn = xc, domid, top_mfn

    def read_u64s(self, address, count):
        """Return `count` words within one page, or None where nothing is mapped."""
        mfn = self._translate(address)
        offset = address % PAGE_SIZE
        if mfn is None or offset + 8 * count > PAGE_SIZE:
            return None
        try:
            with self._map(mfn) as mapping:
                return struct.unpack_from(f"<{count}Q", mapping.view, offset)
        except HypercallError:
            return None

    def _map(self, mfn):
        return self.xc.map_foreign(self.domid, array("Q", [mfn]), writable=False)

    def _translate(self, address):
        mfn = self.top_mfn
        for shift in (39, 30, 21, 12):
            try:
                with self._map(mfn) as table:
                    index = address >> shift & 511
                    (entry,) = struct.unpack_from("<Q", table.view, index * 8)
            except HypercallError:
                return None
            if not entry & PRESENT:
                return None
            mfn = (entry & FRAME_MASK) >> 12
        return mfn


def backtrace(memory, rip, rbp):
    """Return the return addresses along the frame pointers, the current one first."""
    addresses = [rip]
    while len(addresses) < FRAMES_MAX and rbp and rbp % 8 == 0:
        frame = memory.read_u64s(rbp, 2)
        if frame is None or not frame[1]:
            break
        caller, rip = frame
        addresses.append(rip)
        if caller <= rbp:
            break
        rbp = caller
    return addresses


def report(xc, domid, nr_vcpus, elf_path):
    """Describe a crashed domain.

    Args:    elf_path: the kernel's ELF file, for names; None if it is gone.
    Returns: {"vcpus": [{"vcpu", "registers", "backtrace"}]}, as openapi.json says.
    """
    symbols = _symbols(elf_path)
    vcpus = []
    for vcpu in range(nr_vcpus):
        try:
            context = domctl.getvcpucontext(xc, domid, vcpu)
        except HypercallError:
            continue
        if context.user_regs.rip or vcpu == 0:
            vcpus.append(_describe(xc, domid, vcpu, context, symbols))
    return {"vcpus": vcpus}


def _describe(xc, domid, vcpu, context, symbols):
    registers = context.user_regs
    memory = GuestMemory(xc, domid, context.ctrlreg[3] >> 12)
    addresses = backtrace(memory, registers.rip, registers.rbp)
    values = {name: hex(getattr(registers, name)) for name in REGISTERS}
    values |= {f"cr{number}": hex(context.ctrlreg[number]) for number in (2, 3)}
    return {
        "vcpu": vcpu,
        "registers": values,
        "backtrace": [_frame(address, symbols) for address in addresses],
    }


def _frame(address, symbols):
    found = symbols.find(address) if symbols else None
    name, offset = found or ("", 0)
    return {"address": hex(address), "symbol": name, "offset": offset}


def _symbols(elf_path):
    try:
        return Elf(elf_path).symbols() if elf_path else None
    except (OSError, NotAKernel) as error:
        log.warning("no symbols for the backtrace: %s", error)
        return None
