"""The differences from real Xen that are meant, each with its reason: differences.txt.

A paragraph a reason, as `reason: …` (going on on indented lines), then a line for each difference,
`NAME | Xen's answer | ours`. A `*` stands for any text in names and answers.
"""

import re
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path

from tools.compare.transcript import Difference
from tools.setup.paths import ROOT

ALLOWED = ROOT / "tests/guests/kernels/probes/differences.txt"


class Malformed(Exception):
    """A line of the file is not what it should be."""


@dataclass(frozen=True)
class Allowed:
    """One difference, or with `*` many, and why we want it."""

    name: str
    xen: str
    proxen: str
    reason: str

    def covers(self, difference: Difference) -> bool:
        """Tell whether this is the difference that was meant."""
        pairs = (
            (self.name, difference.name),
            (self.xen, difference.xen),
            (self.proxen, difference.proxen),
        )
        return all(matches(pattern, text) for pattern, text in pairs)


def matches(pattern: str, text: str) -> bool:
    """Match with `*` as the only special character."""
    escaped = re.sub(r"[\[?]", lambda m: f"[{m[0]}]", pattern)
    return re.fullmatch(translate(escaped), text) is not None


def read_allowed(path: Path = ALLOWED) -> list[Allowed]:
    """Read the file.

    Errors: Malformed.
    """
    found: list[Allowed] = []
    reason = ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("reason: "):
            reason = line.removeprefix("reason: ")
        elif line.startswith(" "):
            reason += " " + line.strip()
        elif line and not line.startswith("#"):
            fields = [field.strip() for field in line.split(" | ")]
            if len(fields) != 3 or not reason:
                raise Malformed(
                    f"{path.name}:{number}: a difference is `name | xen | ours`, after its reason"
                )
            found.append(Allowed(*fields, reason))
    return found


def sort_out(
    found: list[Difference], allowed: list[Allowed]
) -> tuple[list[Difference], list[Difference], list[Allowed]]:
    """Return the differences that nothing explains, the explained ones, and the explanations of
    what doesn't differ any more.
    """
    explained = [d for d in found if any(a.covers(d) for a in allowed)]
    unexplained = [d for d in found if d not in explained]
    stale = [a for a in allowed if not any(a.covers(d) for d in found)]
    return unexplained, explained, stale
