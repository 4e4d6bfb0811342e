"""Finds out whether KVM really works here.

/dev/kvm may exist and yet abort QEMU or hang a guest at once, so the evidence is a small kernel of
ours, and then a boot of the stock kernel, with the processor that our machines get. The answer is
remembered until the host boots anew.
"""

import os
import subprocess
from pathlib import Path

from tools.qemu import faults
from tools.setup.paths import CACHE
from tools.setup.progress import say

KVM = Path("/dev/kvm")
PROBE_S = 20
NO_ROOT = b"Unable to mount root fs"  # how far a kernel without a disk comes
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def accelerator(kernel: Path, cpu: str) -> str:
    """Return "kvm" where the kernel boots under it, else "tcg". PROXEN_ACCEL overrides."""
    chosen = os.environ.get("PROXEN_ACCEL")
    if chosen:
        return chosen
    if not os.access(KVM, os.R_OK | os.W_OK):
        return "tcg"
    answer = CACHE / f"accelerator-{BOOT_ID.read_text().strip()}"
    if not answer.exists():
        works = faults.runs("kvm") and probe(kernel, cpu)
        say("KVM works, using it" if works else "KVM boots nothing here, using TCG")
        answer.parent.mkdir(parents=True, exist_ok=True)
        answer.write_text("kvm" if works else "tcg")
    return answer.read_text()


def probe(kernel: Path, cpu: str, name: str = "kvm") -> bool:
    """Boot a Linux kernel without any disk, and tell whether it came as far as missing one."""
    command = ["qemu-system-x86_64", "-accel", name, "-machine", "q35", "-cpu", cpu, "-smp", "2"]
    command += ["-m", "512M", "-display", "none", "-nodefaults", "-no-reboot", "-serial", "stdio"]
    command += ["-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_S
        )
    except subprocess.TimeoutExpired:
        return False
    return NO_ROOT in done.stdout
