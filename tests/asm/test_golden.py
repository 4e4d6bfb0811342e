"""Every assembly file of core and libos, disassembled, against tests/asm/golden.

`make golden` (GOLDEN=write) writes the files anew: read the difference before committing it.
"""

import os
from pathlib import Path

import pytest

from tests.asm.disassemble import disassembly

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"
FILES = sorted([*ROOT.glob("kernel/**/*.asm"), *ROOT.glob("libos/**/*.asm")])


def golden_of(source: Path) -> Path:
    return GOLDEN / (str(source.relative_to(ROOT)).replace("/", "-") + ".txt")


@pytest.mark.parametrize("source", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_disassembly_is_as_reviewed(source):
    name = str(source.relative_to(ROOT))
    now, golden = disassembly(source.read_text(), name), golden_of(source)
    if os.environ.get("GOLDEN") == "write":
        golden.write_text(now)
    assert golden.exists(), f"{golden} is missing: make golden"
    assert now == golden.read_text()


def test_no_golden_file_is_orphaned():
    assert {path.name for path in GOLDEN.glob("*.txt")} <= {golden_of(f).name for f in FILES}
