"""READING.md leads nobody to a file that is not there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = re.compile(r"`((?:kernel|libos|drivers|tools|tests)/[\w./]+\.\w+)`")


def test_every_file_that_reading_names_exists():
    named = FILE.findall((ROOT / "READING.md").read_text())
    assert len(named) > 30
    assert [name for name in named if not (ROOT / name).is_file()] == []
