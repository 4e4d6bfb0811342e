"""The PyPI packages: each range of requirements.txt is pinned at both of its ends."""

import re

from tools.setup import pins
from tools.setup.venv import PINS, REQUIREMENTS

PIN = re.compile(r"^([\w.-]+)==([\w.]+)$", re.MULTILINE)
WANTED = REQUIREMENTS.read_text()


def pinned(end: str) -> dict[str, str]:
    """Return the version of each pinned package."""
    found = PIN.findall((PINS / f"{end}.txt").read_text())
    return {key(name): version for name, version in found}


def number(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_requirement_is_a_range():
    lines = [line for line in WANTED.splitlines() if not line.startswith("#")]
    assert len(pins.RANGE.findall(WANTED)) == len(lines)


def test_the_oldest_pins_are_the_lower_ends():
    oldest = pinned("oldest")
    for name, low, _ in pins.RANGE.findall(WANTED):
        assert oldest[key(name)] == low, f"{name}: python -m tools.setup.pins"


def test_the_newest_pins_are_within_the_ranges():
    newest = pinned("newest")
    for name, low, high in pins.RANGE.findall(WANTED):
        assert number(low) <= number(newest[key(name)]) < number(high), name
