"""Boots a machine while a person watches: prints milestones, gives up when none comes."""

import time

from tools.qemu.config import Config
from tools.qemu.machine import Machine
from tools.qemu.milestones import our_milestones
from tools.qemu.serial import SerialTimeout
from tools.setup.progress import say

STALL_S = 150
XEND = "xend listening on 8000"
READY = "dom0 ready"  # comes last, whether or not xend came up


def boot_to_xend(config: Config) -> Machine:
    """Boot a machine until xend answers.

    Errors: MachineFailure, no milestone for STALL_S seconds, or the machine or a daemon died.
    """
    machine = Machine(config)
    try:
        machine.start()
        _follow(machine)
    except BaseException as error:
        machine.keep_traces(str(error))
        machine.stop()
        raise
    return machine


def _follow(machine: Machine) -> None:
    """Print milestones as they come, until xend's, or until dom0 says that this was all."""
    shown = 0
    while True:
        new = _next_milestones(machine, shown)
        for milestone in new:
            say(f"{time.monotonic() - machine.started_at:5.1f} s  {milestone}")
        shown += len(new)
        if XEND in new:
            return
        if READY in new:
            raise machine.failure("dom0 is up without xend")


def _next_milestones(machine: Machine, shown: int) -> list[str]:
    try:
        return machine.serial.wait_until(
            lambda log: our_milestones(log)[shown:], STALL_S, "progress"
        )
    except SerialTimeout as error:
        raise machine.failure(str(error)) from error
