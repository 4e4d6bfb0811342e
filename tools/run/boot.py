"""Boots a machine while a person watches: prints milestones, gives up when none comes.

PROXEN_STALL_S says after how many silent seconds, for slow hosts; a host with other work gets more.
"""

import os
import time

from tools.qemu.config import Config
from tools.qemu.machine import Machine
from tools.qemu.milestones import our_milestones
from tools.qemu.serial import SerialTimeout
from tools.setup.patience import crowd
from tools.setup.progress import say

STALL_S = float(os.environ.get("PROXEN_STALL_S", 150))
REMARK_S = 20  # how often somebody who waits hears of it
XEND = "xend listening on 8000"
READY = "dom0 ready"  # comes last, whether or not xend came up


def boot_to_xend(config: Config) -> Machine:
    """Boot a machine until xend answers.

    Errors: MachineFailure, no milestone for STALL_S seconds, or the machine or a daemon died.
    """
    machine = Machine(config)
    try:
        machine.start()
        follow(machine, STALL_S)
    except BaseException as error:
        machine.keep_traces(str(error))
        machine.stop()
        raise
    return machine


def follow(machine: Machine, stall_s: float) -> None:
    """Print milestones as they come, until xend's, or until dom0 says that this was all.

    Errors: MachineFailure, no milestone for `stall_s` seconds, or the machine or a daemon died.
    """
    shown = 0
    while True:
        new = _next_milestones(machine, shown, stall_s)
        for milestone in new:
            say(f"{time.monotonic() - machine.started_at:5.1f} s  {milestone}")
        shown += len(new)
        if XEND in new:
            return
        if READY in new:
            raise machine.failure("dom0 is up without xend")


def _next_milestones(machine: Machine, shown: int, stall_s: float) -> list[str]:
    """Wait for milestones after those shown already, and say now and then that we do."""
    silent_since = time.monotonic()
    while True:
        limit = stall_s * crowd()
        left = silent_since + limit - time.monotonic()
        try:
            return machine.serial.wait_until(
                lambda log: our_milestones(log)[shown:], min(left, REMARK_S), "progress"
            )
        except SerialTimeout:
            silent = time.monotonic() - silent_since
            if silent >= limit:
                raise machine.stalled(f"no milestone for {silent:.0f} s") from None
            say(f"no milestone for {silent:.0f} s; at {limit:.0f} s the boot counts as hanging")
