"""Sums of numbers and symbols, as they stand in operands and data: `table + 8`, `end - start`, `. -
base + 0x8000`.
"""

import re
from dataclasses import dataclass

from asm.errors import AsmError

TOKEN = re.compile(
    r"\s*(?:(?P<number>0[xX][\da-fA-F_]+|0[bB][01_]+|\d[\d_]*)\b"
    r"|(?P<char>'(?:\\.|[^'])')"
    r"|(?P<name>\.?[A-Za-z_$][\w.$@]*|\.)"
    r"|(?P<other>\S))"
)


@dataclass(frozen=True)
class Sum:
    """number + the symbols of `plus` - those of `minus`."""

    number: int = 0
    plus: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()


def number_value(text: str) -> int:
    return int(text.replace("_", ""), 0 if text[:2].lower() in ("0x", "0b") else 10)


def char_value(text: str) -> int:
    return ord(text[1:-1].encode().decode("unicode_escape"))


def tokens(text: str) -> list[tuple[str, str]]:
    """(kind, text) of each token; kinds are number, name and other."""
    found = []
    for match in TOKEN.finditer(text):
        kind, value = match.lastgroup, match.group().strip()
        if kind == "char":
            kind, value = "number", str(char_value(value))
        found.append((kind, value))
    return found


def parse_sum(text: str) -> Sum:
    """Parse `a + 8 * 4 - b`; products are of numbers only."""
    number, plus, minus, sign, term = 0, [], [], 1, None
    items = tokens(text)
    i = 0
    while i < len(items):
        kind, value = items[i]
        if kind == "number":
            term = number_value(value)
            while i + 2 < len(items) and items[i + 1][1] == "*" and items[i + 2][0] == "number":
                term *= number_value(items[i + 2][1])
                i += 2
            number += sign * term
            sign = 1
        elif kind == "name":
            (plus if sign > 0 else minus).append(value)
            sign = 1
        elif value == "-":
            sign = -sign
        elif value != "+":
            raise AsmError(f"`{text.strip()}` is not a sum of numbers and symbols")
        i += 1
    return Sum(number, tuple(plus), tuple(minus))
