"""Compare Proxen with real Xen in the same QEMU, part by part: 4.17, or HV=xen-4.20.

    python -m tools.bench                   every part
    python -m tools.bench operations disk   some

The parts: `operations`, what each hypercall and trap costs; `boot`, to dom0's first line from user
space; `create`, a domain's creation to its first line; `disk` and `network`, what a toy kernel and
a stock Linux get through dom0. A ratio below 1.0 means that Proxen is faster, whatever the unit.
"""

import argparse
import sys

from tools.bench import boot, operations, services
from tools.bench.figures import Figure
from tools.bench.report import RESULT, Row, keep, pair, table
from tools.qemu.hosts import XENS, peer
from tools.qemu.machine import MachineFailure
from tools.qemu.serial import SerialTimeout
from tools.run.build import build_programs
from tools.setup.progress import say, step

PARTS = ("operations", "boot", *services.PARTS)


def operation_rows() -> list[Row]:
    """Count instructions on both, and say where real Xen differs from its reference."""
    counts = {}
    for kind in (peer(), "proxen"):
        with step(f"count instructions on {kind}, twice"):
            counts[kind] = operations.measure(kind)
    if peer() == "xen":
        print("\n".join(operations.against_reference(counts["xen"])))
    return pair("operations", "instructions", counts[peer()], counts["proxen"])


def boot_rows(runs: int) -> list[Row]:
    """Time booting on both."""
    with step(f"boot each {runs} times"):
        seconds = boot.compare((peer(), "proxen"), runs)
    figures = {kind: {"boot_to_dom0_user_space": Figure(seconds[kind], "s")} for kind in seconds}
    return pair("boot", "wall", figures[peer()], figures["proxen"])


def service_rows(parts: tuple[str, ...]) -> list[Row]:
    """Measure what domains get through dom0 on both."""
    measured = {kind: services.measure(kind, parts) for kind in (peer(), "proxen")}
    return [
        row
        for part in (services.BOOT, *parts)
        for row in pair(part, "virtual", measured[peer()][part], measured["proxen"][part])
    ]


def measure(parts: list[str], boots: int) -> list[Row]:
    """Return the rows of the parts, in the parts' order."""
    build_programs("core", "examples", "bench")
    rows = []
    if "operations" in parts:
        rows += operation_rows()
    if "boot" in parts:
        rows += boot_rows(boots)
    if through_dom0 := tuple(part for part in services.PARTS if part in parts):
        rows += service_rows(through_dom0)
    return rows


def main() -> int:
    """Measure, print, keep.

    Returns: the exit code.
    """
    about, _, rest = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench",
        description=about,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--boots", type=int, default=3, help="boots of each hypervisor")
    chosen = parser.parse_args()
    if unknown := set(chosen.part) - set(PARTS):
        parser.error(
            f"there is no part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}"
        )
    try:
        rows = measure(chosen.part or list(PARTS), chosen.boots)
    except (MachineFailure, SerialTimeout, RuntimeError, ValueError) as failure:
        say(str(failure))
        return 1
    print(table(rows, f"Xen {XENS[peer()]}"))
    keep(rows)
    say(f"kept in {RESULT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
