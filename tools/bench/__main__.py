"""`python -m tools.bench [operations|boot]`: compare Proxen with real Xen 4.17, part by part."""

import argparse
import sys

from tools.bench import boot, operations
from tools.bench.report import RESULT, Row, keep, print_table
from tools.qemu.machine import MachineFailure
from tools.run.build import build_programs
from tools.setup.progress import say, step

KINDS = ("xen", "proxen")


def operation_rows() -> list[Row]:
    """Count instructions on both."""
    build_programs("bench")
    counts = {}
    for kind in KINDS:
        with step(f"count instructions on {kind}"):
            counts[kind] = operations.measure(kind)
    missing = counts["xen"].keys() ^ counts["proxen"].keys()
    if missing:
        say(f"measured on one of the two only: {', '.join(sorted(missing))}")
    return [
        Row(name, "instructions", counts["xen"][name], counts["proxen"][name])
        for name in counts["xen"]
        if name in counts["proxen"]
    ]


def boot_rows(runs: int) -> list[Row]:
    """Time booting on both."""
    with step(f"boot each {runs} times"):
        seconds = boot.compare(KINDS, runs)
    return [Row("boot_to_dom0_user_space", "s", seconds["xen"], seconds["proxen"])]


def main() -> int:
    """Measure, print, keep.

    Returns: the exit code.
    """
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("part", nargs="?", choices=("operations", "boot"), help="default: both")
    parser.add_argument("--boots", type=int, default=3, help="boots of each hypervisor")
    chosen = parser.parse_args()
    rows = []
    try:
        if chosen.part != "boot":
            rows += operation_rows()
        if chosen.part != "operations":
            rows += boot_rows(chosen.boots)
    except MachineFailure as failure:
        say(str(failure))
        return 1
    print_table(rows)
    keep(rows)
    say(f"kept in {RESULT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
