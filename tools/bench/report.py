"""The comparison as a table to read and as JSON to keep."""

import json
import math
from dataclasses import dataclass

from tools.bench.figures import Figure
from tools.setup.paths import BUILD

RESULT = BUILD / "bench.json"
CALIBRATION = ("calibration_1000_nops", "cpuid_native_insn")  # measure the machine, not the core
CLOCKS = {
    "instructions": "counted instructions",
    "virtual": "a clock that counts instructions, one a nanosecond, and jumps over idle time",
    "wall": "the host's clock, so what else the host does plays a part",
}


@dataclass(frozen=True)
class Row:
    """One figure on both hypervisors. Args: clock, one of CLOCKS."""

    part: str
    name: str
    clock: str
    xen: Figure
    proxen: Figure

    @property
    def ratio(self) -> float:
        """Time on Proxen over time on real Xen, for rates too: below 1.0 Proxen is faster."""
        one, other = self.proxen.value, self.xen.value
        if self.xen.more_is_better:
            one, other = other, one
        return one / other if other else math.inf

    def as_json(self) -> dict:
        """Return the row as build/bench.json has it."""
        return {
            "part": self.part,
            "name": self.name,
            "unit": self.xen.unit,
            "clock": self.clock,
            "more_is_better": self.xen.more_is_better,
            "xen": self.xen.value,
            "xen_greatest": self.xen.greatest,
            "proxen": self.proxen.value,
            "proxen_greatest": self.proxen.greatest,
            "ratio": self.ratio,
        }


def pair(part: str, clock: str, xen: dict[str, Figure], proxen: dict[str, Figure]) -> list[Row]:
    """Return the rows of a part.

    Errors: ValueError, something was measured on one of the two only.
    """
    if missing := xen.keys() ^ proxen.keys():
        raise ValueError(f"measured on one of the two only: {', '.join(sorted(missing))}")
    return [Row(part, name, clock, xen[name], proxen[name]) for name in xen]


def table(rows: list[Row], xen: str = "Xen 4.17") -> str:
    """Return one line a row, part by part, the worst ratio of each last where the eye rests."""
    width = max(len(row.name) for row in rows)
    lines = []
    for part in dict.fromkeys(row.part for row in rows):
        of_part = sorted((row for row in rows if row.part == part), key=lambda row: row.ratio)
        lines += ["", f"{part}: {CLOCKS[of_part[0].clock]}"]
        head = f"{'':{width}}  {'unit':12} {xen:>10} {'max':>8} {'Proxen':>10} {'max':>8}"
        lines.append(f"{head} {'ratio':>6}")
        lines += [_line(row, width) for row in of_part]
        lines.append(summary(of_part))
    return "\n".join([*lines, "", f"all: {summary(rows)}"])


def _line(row: Row, width: int) -> str:
    columns = [
        f"{figure.value:10.5g} {'' if figure.greatest is None else f'{figure.greatest:.5g}':>8}"
        for figure in (row.xen, row.proxen)
    ]
    return f"{row.name:{width}}  {row.xen.unit:12} {' '.join(columns)} {row.ratio:6.2f}"


def summary(rows: list[Row]) -> str:
    """Return the geometric mean of the ratios, and how many are above 1.0."""
    counted = [row.ratio for row in rows if row.name not in CALIBRATION]
    mean = math.exp(sum(map(math.log, counted)) / len(counted))
    above = sum(ratio > 1 for ratio in counted)
    return f"geometric mean {mean:.2f}; {above} of {len(counted)} rows above 1.0"


def keep(rows: list[Row]) -> None:
    """Write the rows to build/bench.json."""
    RESULT.write_text(json.dumps([row.as_json() for row in rows], indent=1))
