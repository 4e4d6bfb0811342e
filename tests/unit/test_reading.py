"""READING.md leads nobody to a file that is not there, and its journeys are short."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "READING.md").read_text()
FILE = re.compile(r"`((?:kernel|libos|drivers|tools|tests)/[\w./]+\.\w+)`")
JOURNEYS = {
    words[0].split("`")[1]: FILE.findall(words[0])
    for words in re.findall(r"^\* (`\w+`[^:]*:(?: |\n)+(`[\w./]+`(?: →\s*)?)+)$", TEXT, re.M)
}
MOST_FILES = 6


def test_every_file_that_reading_names_exists():
    named = FILE.findall(TEXT)
    assert len(named) > 30
    assert [name for name in named if not (ROOT / name).is_file()] == []


def leads_to(name: str, after: str) -> bool:
    """Tell whether code in one file calls something in another, as the journey says."""
    text, target = (ROOT / name).read_text(), (ROOT / after).read_text()
    if name.endswith(".asm"):
        exported = re.findall(r"^@export\n(?:@\w+\n)*def (\w+)", target, re.M)
        return any(re.search(rf"\b{function}\b", text) for function in exported)
    if name == "kernel/entry/hypercall.py":
        return "\n@hypercall(" in target
    module = after.removesuffix(".py").replace("/", ".")
    return f"from {module} import" in text or f"\nimport {module}" in text  # which registers it


@pytest.mark.parametrize("call", ["evtchn_send", "mmu_update"])
def test_a_journey_is_short_and_leads_on(call):
    files = JOURNEYS[call]
    assert 3 < len(files) <= MOST_FILES
    assert [step for step in pairwise(files) if not leads_to(*step)] == []
