"""Boots a machine that waits at its first instruction, and gives the terminal to gdb."""

import subprocess

from tools.image.build import Image
from tools.qemu.hosts import default_kind, dom0_machine
from tools.qemu.machine import Machine
from tools.setup.paths import BUILD, ROOT
from tools.setup.progress import say

SYMBOLS = BUILD / "proxen.elf"


def debug(image: Image) -> int:
    """Run gdb on the core until the person leaves it.

    Returns: gdb's exit status.
    """
    config = dom0_machine(default_kind(), "debug", image, gdb=True, extra=("-S",))
    with Machine(config) as machine:
        say(f"serial console: {machine.folder}/serial.log; `continue` starts the machine")
        socket = (machine.folder / "gdb.sock").relative_to(ROOT)
        command = ["gdb", "-q", "-ex", f"target remote {socket}"]
        symbols = [str(SYMBOLS)] if SYMBOLS.exists() else []
        return subprocess.run([*command, *symbols], cwd=ROOT).returncode
