"""`make run SEED=n`: the example, in a run that is the same to the last character every time.

dom0 has all it needs in its ramdisk, starts the domain by itself and powers off; we only watch. See
tools/qemu/repeatable.py for what makes it repeatable.
"""

import hashlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

from kpy.emit.program_file import ProgramFile

from tools.image.build import Image
from tools.image.ramroot import with_job
from tools.qemu.config import Config
from tools.qemu.hosts import default_kind, dom0_machine
from tools.qemu.machine import Machine, MachineFailure
from tools.qemu.repeatable import repeatable
from tools.qemu.serial import SerialTimeout
from tools.run.example import CONFIG, DISK, KERNEL, NOT_WRITTEN, WRITTEN, make_disk
from tools.setup.paths import BUILD, ROOT
from tools.setup.patience import crowd
from tools.setup.progress import say

JOB = ROOT / "tools/run/job.sh"
RAMDISK = BUILD / "example/ramdisk.cpio"
STALL_S = 150
POLL_S = 0.1
OURS = re.compile(r"proxen: (.+)")
STARTS = "the domain starts"
ENDED = re.compile(r"^proxen: the domain ended with (\d+)$", re.MULTILINE)
SECTOR = re.compile(r"^proxen: last sector ([0-9a-f]{64})$", re.MULTILINE)
LAST_WORDS = re.compile(r"^\[ *[0-9.]+\] reboot: Power down$", re.MULTILINE)  # dom0's


def run_repeatably(image: Image, seed: int) -> int:
    """Run the example with a seed.

    Returns: the domain's exit code; 1 if its block is not on the disk though it said 0.
    Errors: MachineFailure, no line for STALL_S seconds, or dom0 powered off without a verdict.
    """
    log, folder = watch(example_machine(default_kind(), image, seed))
    digest = hashlib.sha256((folder / "serial.log").read_bytes()).hexdigest()
    say(f"seed {seed}: the console has sha256 {digest[:32]}…, as in each run of this build")
    return verdict(log, folder)


def verdict(log: str, folder: Path) -> int:
    """Read from the console how the example ended, and tell.

    Returns, Errors: as run_repeatably.
    """
    ended, sector = ENDED.search(log), SECTOR.search(log)
    if ended is None or sector is None:
        raise MachineFailure(f"dom0 powered off without a verdict; traces: {folder}")
    say(f"the domain ended with {ended[1]}; traces: {folder.relative_to(ROOT)}")
    return int(ended[1]) or check_sector(sector[1])


def example_machine(kind: str, image: Image, seed: int) -> Config:
    """Return the machine that runs the example by itself."""
    make_disk(DISK)
    files = {"run": JOB, "disk.img": DISK, CONFIG.name: CONFIG, KERNEL.name: _stripped(KERNEL)}
    ramdisk = with_job(RAMDISK, files)
    return repeatable(dom0_machine(kind, "repeat", image, initramfs=ramdisk), seed)


def _stripped(kernel: Path) -> bytes:
    """Return a kernel without debug information, which tells in which folder it was built."""
    return ProgramFile(kernel).without_debug()


def watch(config: Config) -> tuple[str, Path]:
    """Run a machine until it powers off; show milestones as progress, and the domain's console.

    Returns: the whole console, and the machine's folder.
    """
    with Machine(config) as machine:
        shows_domain = False
        for line in lines_until_power_off(machine):
            ours = OURS.fullmatch(line)
            if ours:
                say(f"{time.monotonic() - machine.started_at:5.1f} s  {ours[1]}")
                shows_domain = ours[1] == STARTS
            elif shows_domain:
                print(line, flush=True)
        return machine.serial.text(), machine.folder


def lines_until_power_off(machine: Machine) -> Iterator[str]:
    """Give each line of the console as it comes.

    Errors: MachineFailure, no new line for STALL_S seconds, or the machine is lost.
    """
    seen = 0
    while not seen or not LAST_WORDS.search(machine.serial.text()):
        lines = _wait_for_lines(machine, seen + 1)
        yield from lines[seen:]
        seen = len(lines)
    _wait_for_power_off(machine)
    yield from machine.serial.text().splitlines()[seen:]


def _wait_for_lines(machine: Machine, count: int) -> list[str]:
    """Return all whole lines of the console, once there are so many."""

    def enough(log: str) -> list[str] | None:
        lines = log.split("\n")[:-1]
        return lines if len(lines) >= count else None

    try:
        return machine.serial.wait_until(enough, STALL_S * crowd(), "progress")
    except SerialTimeout as error:
        raise machine.failure(str(error)) from error


def _wait_for_power_off(machine: Machine) -> None:
    """Wait until QEMU has stopped the machine, after its last words; so all of them are counted."""
    end = time.monotonic() + STALL_S * crowd()
    while machine.monitor.status() != "shutdown":
        if time.monotonic() > end:
            raise machine.failure("dom0 said that it powers off, and did not")
        time.sleep(POLL_S)


def check_sector(digest: str) -> int:
    """Tell whether the last sector's sha256 is that of what the example writes: 0, NOT_WRITTEN."""
    if digest != hashlib.sha256(WRITTEN).hexdigest():
        say(f"the disk's last sector is not what the domain wrote; its sha256 is {digest[:16]}…")
        return NOT_WRITTEN
    say(f"the block that the domain wrote is on the disk, sha256 {digest[:16]}…")
    return 0
