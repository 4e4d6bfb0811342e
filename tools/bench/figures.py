"""Reads figures out of what measuring guests print: one line a figure, its first word says how.

bench NAME MEDIAN MAX   the unit of the part: instructions or ns
time NAME NS            ns
rate NAME KIBPS         KiB a second
stream NAME DD          the last line of busybox's dd: a rate
each NAME DD            likewise, of blocks of 4 KiB: the time of one
ping NAME PING          the last line of busybox's ping: the mean round trip
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

NS_PER_US, NS_PER_S, KIB_PER_MIB = 1000, 10**9, 1024
LINE = re.compile(r"^(bench|time|rate|stream|each|ping) (\w+) (.+?)\s*$", re.MULTILINE)
PING = re.compile(r"min/avg/max = [\d.]+/([\d.]+)/[\d.]+ ms")


@dataclass(frozen=True)
class Figure:
    """A measured value; of a rate, more is better."""

    value: float
    unit: str
    greatest: float | None = None

    @property
    def more_is_better(self) -> bool:
        return self.unit.endswith("/s")


def read(text: str) -> dict[str, Figure]:
    """Return all figures in a text, by name, in its order.

    Errors: ValueError, a line begins like a figure and is none, or a name comes twice.
    """
    figures = {}
    for kind, name, rest in LINE.findall(text):
        if name in figures:
            raise ValueError(f"the figure {name} was measured twice")
        try:
            figures[name] = READERS[kind](rest)
        except (TypeError, IndexError, ValueError) as error:
            raise ValueError(f"no figure in {f'{kind} {name} {rest}'!r}") from error
    return figures


def _bench(rest: str) -> Figure:
    median, greatest = map(int, rest.split())
    return Figure(median / NS_PER_US, "us", greatest / NS_PER_US)


def _time(rest: str) -> Figure:
    return Figure(int(rest) / NS_PER_US, "us")


def _rate(rest: str) -> Figure:
    return Figure(int(rest) / KIB_PER_MIB, "MiB/s")


def _stream(rest: str) -> Figure:
    nr_bytes, ns = map(int, rest.split())
    return Figure(nr_bytes * NS_PER_S / ns / 2**20, "MiB/s")


def _each(rest: str) -> Figure:
    count, ns = map(int, rest.split())
    return Figure(ns / count / NS_PER_US, "us")


def _ping(rest: str) -> Figure:
    return Figure(float(PING.search(rest)[1]) * 1000, "us")


READERS: dict[str, Callable[[str], Figure]] = {
    "bench": _bench,
    "time": _time,
    "rate": _rate,
    "stream": _stream,
    "each": _each,
    "ping": _ping,
}
