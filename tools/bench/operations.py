"""Instructions per elementary operation: one guest on both hypervisors, counted exactly.

`-icount shift=0` makes one tick of the TSC one guest instruction, so two runs agree; it counts no
TLB miss and no cache miss.
"""

import re
from pathlib import Path

from tools.qemu.config import Config
from tools.qemu.hosts import hypervisor
from tools.qemu.machine import Machine
from tools.setup.paths import BUILD

GUEST = BUILD / "bench_guest.elf"
LAST_ROW = "user_int3_kernel_user"
LIMIT_S = 240
ONE_CPU_ARGS = "dom0_mem=512M,max:512M dom0_max_vcpus=1 console=com1 com1=115200"
FIXED_CLOCK = ("-rtc", "base=2026-01-01T00:00:00,clock=vm")
ROW = re.compile(r"^bench (\w+) (\d+) (\d+)\s*$", re.MULTILINE)


def machine(kind: str) -> Config:
    """Return a machine on which every run is the same: one CPU, no device but the console."""
    return Config(
        name=f"bench-{kind}",
        kernel=Path(GUEST),
        kernel_args="",
        hypervisor=hypervisor(kind),
        hypervisor_args=ONE_CPU_ARGS,
        cpus=1,
        nic=None,
        icount="shift=0,sleep=off",
        extra=FIXED_CLOCK,
    )


def measure(kind: str) -> dict[str, int]:
    """Boot the measuring guest as dom0's kernel.

    Returns: the median number of instructions of each operation.
    Errors: MachineFailure, it did not reach its last row.
    """
    with Machine(machine(kind)) as running:
        running.wait_for(rf"^bench {LAST_ROW} \d+ \d+", LIMIT_S)
        return {name: int(median) for name, median, _ in ROW.findall(running.serial.text())}
