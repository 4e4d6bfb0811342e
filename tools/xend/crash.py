"""Why a domain crashed: its registers, and a backtrace with names and lines from its kernel's file.

The guest's memory is read through its own page tables, of which nothing is trusted: a wild pointer
ends the backtrace. The report also goes to the hypervisor's console, whose ring `xm dmesg` shows
and whose serial line the machine's owner keeps.
"""

import logging
import struct
import time
from array import array

from dwarf.source import Frame
from xen import domctl, sysctl
from xen.privcmd import PAGE_SIZE, HypercallError

from xend.pagetables import PRESENT
from xend.symbolize import find_frames

FRAMES_MAX = 32
REPORTS_MAX, PERIOD_S = 10, 60  # on the console
LINES_MAX = 100  # of one of them
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
    crashed = list(_backtraces(xc, domid, nr_vcpus))
    insides = sorted({inside for _, _, calls in crashed for _, inside in calls})
    places = find_frames(elf_path, insides) if elf_path else {}
    return {"vcpus": [_describe(*vcpu, places) for vcpu in crashed]}


def _backtraces(xc, domid, nr_vcpus):
    """Yield each started vCPU's number, context, and callers as (address, inside the call)."""
    for vcpu in range(nr_vcpus):
        try:
            context = domctl.getvcpucontext(xc, domid, vcpu)
        except HypercallError:
            continue
        registers = context.user_regs
        if registers.rip or vcpu == 0:
            memory = GuestMemory(xc, domid, context.ctrlreg[3] >> 12)
            rip, *callers = backtrace(memory, registers.rip, registers.rbp)
            # The call is what lies before a return address
            yield vcpu, context, [(rip, rip), *((caller, caller - 1) for caller in callers)]


def _describe(vcpu, context, calls, places):
    values = {name: hex(getattr(context.user_regs, name)) for name in REGISTERS}
    values |= {f"cr{number}": hex(context.ctrlreg[number]) for number in (2, 3)}
    frames = []
    for address, inside in calls:
        frames += _frames(address, inside, places.get(inside))
    return {"vcpu": vcpu, "registers": values, "backtrace": frames}


def _frames(address, inside, found):
    """Return openapi.json's `Frame`s of an address, inlined calls first."""
    found = found or [Frame("", 0, None, 0)]
    return [
        {
            "address": hex(address),
            "symbol": frame.function,
            "offset": 0 if frame is not found[-1] else frame.offset + address - inside,
            "inlined": frame is not found[-1],
            "file": frame.file or "",
            "line": frame.line,
        }
        for frame in found
    ]


class Announcer:
    """Prints reports on the hypervisor's console, at a bounded rate: its ring is everybody's."""

    def __init__(self, xc):
        self.xc = xc
        self.times = []  # of the last reports
        self.nr_left_out = 0

    def print(self, domid, name, crashed):
        """Print the report of a domain, unless there were too many of late."""
        now = time.monotonic()
        self.times = [then for then in self.times if then > now - PERIOD_S]
        if len(self.times) >= REPORTS_MAX:
            self.nr_left_out += 1
            return
        self.times.append(now)
        lines = [f"{self.nr_left_out} reports were left out"] if self.nr_left_out else []
        self.nr_left_out = 0
        lines += text(domid, name, crashed)
        try:
            sysctl.console_write(self.xc, "".join(f"xend: {line}\n" for line in lines))
        except HypercallError as error:
            log.warning("the report cannot be printed: %s", error)


def text(domid, name, crashed):
    """Return a report as lines; the registers are on the console already, from the hypervisor."""
    lines = []
    for vcpu in crashed["vcpus"]:
        lines.append(f"d{domid}v{vcpu['vcpu']} of '{name}' crashed at")
        lines += [f"  {frame_text(frame)}" for frame in vcpu["backtrace"]]
    if len(lines) > LINES_MAX:
        lines[LINES_MAX:] = [f"and so on; 'xm show {name}' has all of it"]
    return lines


def frame_text(frame):
    """Return a Frame as one line."""
    how = " (inlined)" if frame["inlined"] else f"+{frame['offset']:#x}"
    name = f" {frame['symbol']}{how}" if frame["symbol"] else ""
    place = f" {frame['file']}:{frame['line']}" if frame["file"] else ""
    return f"{frame['address']}{name}{place}"
