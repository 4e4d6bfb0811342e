"""The machine that `make up` leaves running for `./xm`, found by the link build/run/current.

Its folder holds `pid` and `port`, the port on 127.0.0.1 that leads to xend.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

from tools.image.build import Image
from tools.qemu.hosts import default_kind, dom0_machine
from tools.qemu.repeatable import seeded
from tools.run.boot import boot_to_xend
from tools.setup.paths import RUNS
from tools.setup.progress import fail, say

LINK = RUNS / "current"
END_S = 10


def up(image: Image, seed: int | None = None) -> None:
    """Boot a machine that outlives us, unless there is one already.

    Args: seed, of its randomness and time slices; it does not make the machine repeatable, as what
          comes over HTTP and from the disks reaches no two machines at the same instruction.
    """
    if running():
        say(f"already up: xend answers on http://127.0.0.1:{port()}, kind {LINK.resolve().name}")
        return
    config = dom0_machine(default_kind(), "up", image, detached=True)
    if seed is not None:
        say(f"seed {seed} sets time slices and RDRAND; only `make run SEED={seed}` repeats all")
        config = seeded(config, seed)
    machine = boot_to_xend(config)
    (machine.folder / "port").write_text(str(machine.port()))
    LINK.unlink(missing_ok=True)
    LINK.symlink_to(machine.folder.name)
    machine.leave()
    say(f"up: xend answers on http://127.0.0.1:{port()}; try ./xm list; stop it with `make down`")


def down() -> None:
    """Stop the machine; no machine is no error."""
    if not running():
        say("nothing is up")
    else:
        _end(_pid())
        say("down")
    LINK.unlink(missing_ok=True)


def running() -> bool:
    """Tell whether the machine runs: its process is there, and is our QEMU."""
    try:
        words = Path(f"/proc/{_pid()}/cmdline").read_bytes()
    except (OSError, ValueError):
        return False
    return b"qemu-system" in words


def port() -> int:
    """Return xend's port on 127.0.0.1.

    Errors: SystemExit, nothing is up.
    """
    try:
        return int((LINK / "port").read_text())
    except (OSError, ValueError):
        raise fail("no machine is up; start one with `make up`") from None


def _pid() -> int:
    return int((LINK / "pid").read_text())


def _end(pid: int) -> None:
    """Ask QEMU to end, then make it."""
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + END_S
    with contextlib.suppress(ProcessLookupError):
        while running():
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
