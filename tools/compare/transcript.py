"""Transcripts: what the probing guest printed, as answers by name; and where two of them differ."""

import re
from dataclasses import dataclass

LINE = re.compile(r"^= (.*?): (.*?)\s*$", re.MULTILINE)
MISSING = "(no such line)"


class Repeated(Exception):
    """Two lines of a transcript have the same name."""


@dataclass(frozen=True)
class Difference:
    """A line that Xen and Proxen answer differently, or that one of them lacks."""

    name: str
    xen: str
    proxen: str

    def __str__(self) -> str:
        return f"{self.name}\n    xen     {self.xen}\n    proxen  {self.proxen}"


def answers(text: str) -> dict[str, str]:
    """Return the answers of a transcript by name, in its order.

    Errors: Repeated.
    """
    found = {}
    for name, answer in LINE.findall(text):
        if name in found:
            raise Repeated(f"the guest prints two lines of the name {name!r}; rename one")
        found[name] = answer
    return found


def as_text(transcript: dict[str, str]) -> str:
    """Return a transcript as a file keeps it."""
    return "".join(f"= {name}: {answer}\n" for name, answer in transcript.items())


def differences(xen: dict[str, str], proxen: dict[str, str]) -> list[Difference]:
    """Return where two transcripts differ, in the order of the first; what only the second has
    comes last.
    """
    names = [*xen, *(name for name in proxen if name not in xen)]
    pairs = ((name, xen.get(name, MISSING), proxen.get(name, MISSING)) for name in names)
    return [Difference(*pair) for pair in pairs if pair[1] != pair[2]]
