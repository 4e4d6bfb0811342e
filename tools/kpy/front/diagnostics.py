"""Errors, collected over the whole program and printed as a good compiler prints them."""

import os
from dataclasses import dataclass, field

from kpy.front import source


@dataclass
class Note:
    """A second place that explains the error."""

    line: int
    start: int
    end: int
    text: str


@dataclass
class Diagnostic:
    path: str
    line: int
    start: int
    end: int
    message: str
    label: str = ""
    notes: list[Note] = field(default_factory=list)
    help: str = ""

    def render(self):
        """The error as text: place, message, source lines with carets, help."""
        shown = [f"{display(self.path)}:{self.line}:{self.start + 1}: error: {self.message}"]
        marks = {self.line: [(self.start, self.end, "^", self.label)]}
        for note in self.notes:
            marks.setdefault(note.line, []).append((note.start, note.end, "~", note.text))
        for line in sorted(marks, key=lambda line: (line != self.line, line)):
            shown += _excerpt(self.path, line, marks[line])
        if self.help:
            shown.append(f"  help: {self.help}")
        return "\n".join(shown)


class Reported(Exception):
    """Raised when an error has been recorded: the statement at hand is given up."""


class Refused(TypeError):
    """What Python would do at import and kernel Python does not; `help` says how it is done here.

    `function` is the one that is to blame, if the line that raises this is not.
    """

    def __init__(self, message, help="", function=None):
        super().__init__(message)
        self.help, self.function = help, function


class Diagnostics:
    """All errors found so far, each once."""

    def __init__(self):
        self.found = {}

    def add(self, diagnostic):
        key = (diagnostic.path, diagnostic.line, diagnostic.start, diagnostic.message)
        self.found.setdefault(key, diagnostic)

    def __len__(self):
        return len(self.found)

    def render(self):
        ordered = sorted(self.found.values(), key=lambda d: (d.path, d.line, d.start))
        return "\n\n".join(diagnostic.render() for diagnostic in ordered)


def display(path):
    """Shorten a path below the working directory."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _excerpt(path, line, marks):
    text = source.line_of(path, line)
    under, remarks = "", []
    for start, end, sign, remark in sorted(marks):
        if start >= len(under):
            under += " " * (start - len(under)) + sign * max(1, min(end, len(text)) - start)
        if remark:
            remarks.append(remark)
    gutter = f"{line:>5} | "
    tail = " " + ", ".join(remarks) if remarks else ""
    return [gutter + text, " " * 6 + "| " + under + tail]
