"""What each processor of a machine is doing, seen from outside: registers and frame pointers by
QEMU's monitor, names and lines by the ELF files of core and domain 0's kernel.

It needs nothing of the guest, so it also tells of one that hangs with interrupts off.
"""

import re
import time
from functools import lru_cache
from pathlib import Path

from dwarf.bytes import Truncated
from dwarf.source import SourceMap

from tools.qemu.config import Config
from tools.qemu.monitor import Monitor
from tools.setup.paths import CORE, ROOT

MAX_FRAMES = 16
LOOKS, PAUSE_S = 5, 0.1
CORE_START, CORE_END = 0xFFFF800000000000, 0xFFFF880000000000  # kernel/x86/memlayout.py
REGISTER = re.compile(r"\b[RE](IP|BP)=([0-9a-f]+)")  # E where a processor is not in long mode
STATE = re.compile(r"\b(CPL|HLT)=([0-9])")
WORDS = re.compile(r"0x([0-9a-f]{16})\b")


def what_cpus_do(monitor: Monitor, config: Config) -> list[str]:
    """Return lines of text: for each processor where it is, and its callers.

    The machine stands still meanwhile, so that registers and stacks belong together.
    """
    was_running = monitor.status() == "running"
    lines = []
    for number, values in enumerate(_settled(monitor) if was_running else _registers(monitor)):
        lines.append(f"cpu {number}: {_where(values)}, rip {values['IP']:#x}")
        lines += [f"    {line}" for line in _frames(monitor, number, values, config)]
    if was_running:
        monitor.execute("cont")
    return lines


def _settled(monitor: Monitor) -> list[dict[str, int]]:
    """Stop the machine and return the registers of each processor. While one is in the core, for a
    timer's interrupt say, look again: what it mostly does tells more.
    """
    for look in range(LOOKS):
        monitor.execute("stop")
        found = _registers(monitor)
        if look == LOOKS - 1 or not any(map(_passes_by, found)):
            break
        monitor.execute("cont")
        time.sleep(PAUSE_S)
    return found


def _passes_by(values: dict[str, int]) -> bool:
    return values["CPL"] == 0 and not values["HLT"]


def _registers(monitor: Monitor) -> list[dict[str, int]]:
    text = monitor.human("info registers -a")
    return [
        {name: int(value, 16) for name, value in REGISTER.findall(part)}
        | {name: int(value) for name, value in STATE.findall(part)}
        for part in re.split(r"^CPU#\d+", text, flags=re.MULTILINE)[1:]
    ]


def _where(values: dict[str, int]) -> str:
    if values["CPL"] == 3:
        place = "a guest, or its user"
    else:
        place = "the core" if CORE_START <= values["IP"] < CORE_END else "ring 0"
    return f"sleeps in {place}" if values["HLT"] else f"runs in {place}"


def _frames(monitor: Monitor, cpu: int, values: dict[str, int], config: Config) -> list[str]:
    """Return a line for each frame; an address without a name ends them, but for the first."""
    lines = _describe(values["IP"], values["IP"], config)
    frame = values["BP"]
    for _ in range(MAX_FRAMES):
        words = WORDS.findall(monitor.human(f"x /2gx {frame:#x}", cpu)) if frame else []
        if len(words) != 2:
            break
        caller, address = (int(word, 16) for word in words)
        named = _describe(address, address - 1, config) if address else []
        if not named or "(no symbol)" in named[0]:
            break
        lines += named
        if caller <= frame:
            break
        frame = caller
    return lines


def _describe(address: int, inside: int, config: Config) -> list[str]:
    is_core = CORE_START <= address < CORE_END
    path = CORE.with_suffix(".elf") if is_core else config.kernel
    if is_core and config.hypervisor != CORE:
        return [f"{address:#x} (no symbol)"]
    frames = source_map(path).find(inside) if source_map(path) else []
    lines = []
    for depth, frame in enumerate(frames):
        place = f" {frame.file}:{frame.line}" if frame.file else ""
        name = f"{frame.function} (inlined)"
        if depth == len(frames) - 1:
            name = f"{frame.function}+{frame.offset + address - inside:#x}"
        lines.append(f"{name}{place}")
    return lines or [f"{address:#x} (no symbol)"]


@lru_cache
def source_map(path: Path) -> SourceMap | None:
    """Return the source of an ELF file; None if it is no such file."""
    try:
        return SourceMap(path, ROOT.as_posix())
    except (OSError, Truncated):
        return None
