"""Time from the start of QEMU to dom0's first line from user space, on the wall clock."""

import statistics
import time

from tools.qemu.hosts import dom0_machine
from tools.qemu.machine import Machine
from tools.setup.patience import PATIENCE_S

FIRST_USER_LINE = r"^proxen: dom0 user space"


def measure(kind: str) -> float:
    """Boot dom0 once.

    Returns: seconds.
    """
    with Machine(dom0_machine(kind, f"bench-boot-{kind}")) as running:
        running.wait_for(FIRST_USER_LINE, PATIENCE_S)
        return time.monotonic() - running.started_at


def compare(kinds: tuple[str, ...], runs: int) -> dict[str, float]:
    """Boot each kind in turn, several times, so that what else the machine does falls on all.

    Returns: the median of each.
    """
    seconds = {kind: [] for kind in kinds}
    for _ in range(runs):
        for kind in kinds:
            seconds[kind].append(measure(kind))
    return {kind: statistics.median(values) for kind, values in seconds.items()}
