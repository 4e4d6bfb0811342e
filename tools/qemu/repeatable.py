"""What a seed makes of a machine: one that differs from seed to seed, or one that repeats itself.

Two runs of a repeatable machine with one seed are the same to the last instruction. Its time is a
count of instructions, its date begins at a fixed one, one processor runs. Whatever reaches a guest
from outside when the host gets round to it would break that: so there is no disk, no network, and
nobody types.
"""

import argparse
from dataclasses import replace

from tools.qemu.config import Config
from tools.setup.paths import CORE

# An instruction takes 2^3 ns of the guest's time: 125 million a second, about what TCG does. With a
# shorter time waiting loops would waste instructions, with a longer one timer ticks would.
SHIFT = 3
FIXED_DATE = ("-rtc", "base=2026-01-01T00:00:00,clock=vm")
# Linux would copy and clear with `rep movsb` and `rep stosb`, which count one instruction a byte.
NO_BYTE_STRINGS = "erms=off,fsrm=off"
SEEDS = 1 << 32  # as many as QEMU's -seed takes


def seed_number(word: str) -> int:
    """Read a seed from a command line. Errors: ArgumentTypeError, it is none."""
    if not word.isdecimal() or int(word) >= SEEDS:
        raise argparse.ArgumentTypeError(
            f"'{word}' is no seed; take a number from 0 to {SEEDS - 1}"
        )
    return int(word)


def seeded(config: Config, seed: int) -> Config:
    """Return a machine whose randomness (RDRAND, RDSEED) and time slices come from the seed."""
    slices = f" sched-seed={seed}" if config.hypervisor == CORE else ""
    return replace(
        config,
        hypervisor_args=config.hypervisor_args + slices,
        extra=(*config.extra, "-seed", str(seed)),
    )


def repeatable(config: Config, seed: int) -> Config:
    """Return a machine like `config`, all runs of which with this seed are the same."""
    machine = seeded(config, seed)
    return replace(
        machine,
        hypervisor_args=machine.hypervisor_args.replace("dom0_max_vcpus=2", "dom0_max_vcpus=1"),
        disks=(),
        nic=None,
        cpus=1,
        cpu=f"{config.cpu},{NO_BYTE_STRINGS}",
        icount=f"shift={SHIFT},sleep=off",
        extra=(*machine.extra, *FIXED_DATE),
    )
