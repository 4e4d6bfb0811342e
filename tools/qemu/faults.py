"""What QEMU's own processor (TCG) does wrong, found by running a small image of ours on it.

The image is `probe.asm`. The answer is kept below build/cache, by the contents of QEMU and of the
probe: another QEMU is asked anew.
"""

import functools
import importlib
import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from tools.qemu.config import Config
from tools.setup.paths import CACHE
from tools.setup.progress import fail, say
from tools.setup.stamp import fingerprint

SOURCE = Path(__file__).with_name("probe.asm")
QEMU = "qemu-system-x86_64"
PROBE_S = 60
GOOD, BAD = "G", "B"
MACHINE = ("-m", "64M", "-display", "none", "-no-user-config", "-nodefaults", "-no-reboot")
CHANNELS = ("-debugcon", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=1")


@dataclass(frozen=True)
class Faults:
    """What is wrong; all False on a good processor."""

    iret: bool  # `iret` in ring 3 reads its stack with a supervisor's rights
    int_n: bool  # a forbidden `int n` in ring 3 gives a wrong error code

    def words(self) -> list[str]:
        """Return a sentence for each fault, with what is done about it."""
        iret = (
            "`iret` in ring 3 reads its stack with a supervisor's rights, so machines have no SMAP"
        )
        int_n = (
            "a forbidden `int n` in ring 3 gives a wrong error code, so the core reads the number"
        )
        return [text for text, is_so in ((iret, self.iret), (int_n, self.int_n)) if is_so]


def faults() -> Faults:
    """Return the faults of the installed QEMU's TCG.

    Errors: SystemExit, there is no QEMU, or the probe does not run on it.
    """
    if known := known_faults():
        return known
    answer = _answer()
    if answer is None:
        raise fail(f"there is no {QEMU} here; `make setup` says how to get it")
    said = probe("tcg")
    judged = _judge(said)
    if judged is None:
        raise fail(f"{QEMU} does not run a small kernel; it says: {said.strip() or 'nothing'}")
    for text in judged.words():
        say(f"this QEMU has a fault: {text}")
    answer.parent.mkdir(parents=True, exist_ok=True)
    answer.write_text(said)
    return judged


def worked_around(config: Config, accelerator: str) -> Config:
    """Return the machine without what QEMU's own processor does wrong.

    Without SMAP: where an `iret` in ring 3 reads its stack with a supervisor's rights, SMAP kills
    PV guests on any hypervisor. Without x2APIC where instructions are counted: QEMU 9 and later
    have one, and end with "Bad icount read" when its timer is read.
    """
    lacking = [",x2apic=off"] if config.icount is not None else []
    if accelerator.startswith("tcg") and faults().iret:
        lacking.append(",smap=off")
    return replace(config, cpu="".join([config.cpu, *lacking]))


def known_faults() -> Faults | None:
    """Return what is known without a probe; None if this QEMU was not asked yet."""
    answer = _answer()
    return _judge(answer.read_text()) if answer is not None and answer.exists() else None


def _answer() -> Path | None:
    """Return where the answer of the installed QEMU is kept; None without QEMU."""
    found = shutil.which(QEMU)
    return CACHE / f"qemu-faults-{_digest(found)[:32]}" if found else None


@functools.cache
def _digest(program: str) -> str:
    return fingerprint(Path(program).resolve(), SOURCE)


def runs(accelerator: str) -> bool:
    """Tell whether the probe runs to its end under an accelerator."""
    return _judge(probe(accelerator)) is not None


def probe(accelerator: str, cpu: str = "max") -> str:
    """Run the probe. Returns: what it, or QEMU, said."""
    command = [QEMU, "-accel", accelerator, "-cpu", cpu, *MACHINE, *CHANNELS]
    try:
        done = subprocess.run(
            [*command, "-kernel", str(_image())], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PROBE_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "it hangs"
    return done.stdout.decode(errors="replace")


def _image() -> Path:
    """Return the assembled probe."""
    image = CACHE / f"probe-{fingerprint(SOURCE)[:16]}.bin"
    if not image.exists():
        # Needs build/venv, which `make doctor` does without.
        assemble = importlib.import_module("asm.assembler").assemble
        image.parent.mkdir(parents=True, exist_ok=True)
        section = assemble(SOURCE.read_text(), str(SOURCE)).sections[".text"]
        new = image.with_suffix(f".{os.getpid()}")
        new.write_bytes(bytes(section.data))
        new.replace(image)
    return image


def _judge(said: str) -> Faults | None:
    words = dict(word.split("=") for word in said.split() if word.count("=") == 1)
    verdicts = words.get("iret"), words.get("int")
    if not set(verdicts) <= {GOOD, BAD}:
        return None
    return Faults(*(verdict == BAD for verdict in verdicts))
