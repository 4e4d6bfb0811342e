"""Instructions per elementary operation: one guest on both hypervisors, counted exactly.

`-icount shift=0` makes one tick of the TSC one guest instruction, so two runs give identical
figures, which each measurement makes sure of; it counts no TLB miss and no cache miss.
"""

import re
from pathlib import Path

from tools.bench.figures import Figure
from tools.qemu.config import COUNTING, FIXED_CLOCK, Config
from tools.qemu.hosts import hypervisor
from tools.qemu.machine import Machine, MachineFailure
from tools.setup.paths import BUILD
from tools.setup.patience import PATIENCE_S

GUEST = BUILD / "bench_guest.elf"
REFERENCE = Path(__file__).with_name("xen-4.17-costs.txt")
LAST_ROW = "user_int3_kernel_user"
TOLERANCE = 0.1
ONE_CPU_ARGS = "dom0_mem=512M,max:512M dom0_max_vcpus=1 console=com1 com1=115200"
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
        icount=COUNTING,
        extra=FIXED_CLOCK,
    )


def count(kind: str) -> dict[str, Figure]:
    """Boot the measuring guest as dom0's kernel.

    Returns: the number of instructions of each operation.
    Errors: MachineFailure, it did not reach its last row.
    """
    with Machine(machine(kind)) as running:
        running.wait_for(rf"^bench {LAST_ROW} \d+ \d+", PATIENCE_S)
        return read(running.serial.text())


def read(text: str) -> dict[str, Figure]:
    """Return the rows that the guest printed."""
    return {
        name: Figure(int(median), "instructions", int(greatest))
        for name, median, greatest in ROW.findall(text)
    }


def measure(kind: str) -> dict[str, Figure]:
    """Count twice.

    Errors: MachineFailure, the two differ: then nothing that was counted can be relied on.
    """
    first, second = count(kind), count(kind)
    if changed := differences(first, second):
        text = "\n".join(changed)
        raise MachineFailure(f"two counts on {kind} differ, so neither is exact:\n{text}")
    return first


def differences(one: dict[str, Figure], other: dict[str, Figure]) -> list[str]:
    """Return a line for each row that differs or is missing in one."""
    names = list(one | other)
    return [
        f"  {name}: {_text(one.get(name))}, then {_text(other.get(name))}"
        for name in names
        if one.get(name) != other.get(name)
    ]


def _text(figure: Figure | None) -> str:
    return f"{figure.value} (greatest {figure.greatest})" if figure else "nothing"


def reference() -> dict[str, Figure]:
    """Return what the same operations cost on real Xen when its figures were written down."""
    return read(re.sub(r"^(?=\w)", "bench ", REFERENCE.read_text(), flags=re.MULTILINE))


def against_reference(xen: dict[str, Figure]) -> list[str]:
    """Return what to say about real Xen as measured now, against when it was written down.

    That was another guest, so its own part in a hypercall, some 20 instructions, shows.
    """
    expected = reference()
    changes = {name: xen[name].value / expected[name].value - 1 for name in expected if name in xen}
    missing = sorted(expected.keys() - xen.keys())
    far = {name: change for name, change in changes.items() if abs(change) > TOLERANCE}
    mean = sum(changes.values()) / len(changes)
    lines = [
        f"real Xen against {REFERENCE.name}: {len(changes)} of {len(expected)} rows, "
        f"{mean:+.1%} in the mean, {len(far)} off by more than {TOLERANCE:.0%}"
    ]
    lines += [f"  {name}: {expected[name].value}, now {xen[name].value}" for name in far]
    return lines + [f"  {name}: not measured" for name in missing]
