"""The comparison as a table to read and as JSON to keep."""

import json
import math
from dataclasses import asdict, dataclass

from tools.setup.paths import BUILD

RESULT = BUILD / "bench.json"
CALIBRATION = ("calibration_1000_nops", "cpuid_native_insn")  # measure the machine, not the core


@dataclass(frozen=True)
class Row:
    """One figure on both hypervisors; less is better."""

    name: str
    unit: str
    xen: float
    proxen: float

    @property
    def ratio(self) -> float:
        """Proxen's figure over real Xen's."""
        return self.proxen / self.xen if self.xen else math.inf


def print_table(rows: list[Row]) -> None:
    """Print one line a row, worst ratio last where the eye rests."""
    width = max(len(row.name) for row in rows)
    print(f"{'operation':{width}}  {'unit':12} {'Xen 4.17':>10} {'Proxen':>10} {'ratio':>7}")
    for row in sorted(rows, key=lambda row: row.ratio):
        print(
            f"{row.name:{width}}  {row.unit:12} {row.xen:10.5g} {row.proxen:10.5g} {row.ratio:7.2f}"
        )
    counted = [row.ratio for row in rows if row.name not in CALIBRATION]
    mean = math.exp(sum(map(math.log, counted)) / len(counted))
    above = sum(ratio > 1 for ratio in counted)
    print(f"geometric mean {mean:.2f}; {above} of {len(counted)} rows above 1.0")


def keep(rows: list[Row]) -> None:
    """Write the rows to build/bench.json."""
    RESULT.write_text(json.dumps([asdict(row) | {"ratio": row.ratio} for row in rows], indent=1))
