"""Every hypercall as the ABI describes it, made rightly but for one word, which is a boundary.

What a call looks like comes from tests/fuzz/calls.py; `Plain` answers its draws so that a call is
as right as can be. The words that this puts into the guest's memory, and the arguments in
registers, are then replaced one at a time.
"""

from dataclasses import dataclass
from itertools import combinations, product

from kernel.base.registry import hypercalls
from tests.fuzz import calls
from tests.model.guest import ARGUMENTS, BASE, FIRST_DATA_PAGE, PAGE

DATA = BASE + FIRST_DATA_PAGE * PAGE
TABLE_FLAGS = 7
L1_PAGE = 3
SOON_NS = 2_000_000_000
AS_GIVEN = 40  # per cent: what is drawn at least so often is done
REGISTER_BYTES = 8
MOST_WORDS = 9  # of a call of which each two are replaced
NUMBERS = {calls.NAME_OF[number]: number for number in hypercalls}


@dataclass
class Call:
    """A hypercall, with the data at ARGUMENTS; `what` says which word is a boundary, if one is."""

    operation: object
    args: list
    data: bytes
    what: str = ""

    def __str__(self):
        return f"{self.operation} [{', '.join(map(hex, self.args))}] {self.what}"


@dataclass
class Way:
    """How a call is made: whom it names, and what its flags and numbers without meaning are."""

    domid: int
    number: int


class Plain:
    """Stands for the draws of a fuzzer: always the plainest choice."""

    def __init__(self, guest, way, chosen):
        self.who, self.way, self.chosen = guest, way, chosen

    def chance(self, percent):
        return percent >= AS_GIVEN

    def pick(self, choices):
        """The operation under test where it is asked for, else the first."""
        return self.chosen if self.chosen in choices else choices[0]

    def below(self, end):
        return 0

    def number(self):
        return self.way.number

    flags = number

    def handle(self):
        return 0

    vcpu = handle

    def count(self):
        return 1

    port = reference = count

    def domid(self):
        return self.way.domid

    def time(self):
        return SOON_NS

    def frame(self, actor):
        return self.who.pages[FIRST_DATA_PAGE]

    def entry(self, actor):
        return self.frame(actor) << 12 | TABLE_FLAGS

    def slot(self, actor):
        return self.who.pages[L1_PAGE] << 12 | FIRST_DATA_PAGE * 8

    def address(self):
        return DATA


class Words(calls.Blob):
    """Data of a call that remembers where its words are."""

    def __init__(self):
        super().__init__(ARGUMENTS)
        self.places = {}

    def put(self, offset, size, value):
        super().put(offset, size, value)
        self.places[offset, size] = value & (1 << 8 * size) - 1


def bounds_of(size):
    """The boundaries of a word of so many bytes: its own, and those of narrower ones."""
    edges = [1 << bits for bits in (7, 8, 15, 16, 31, 32, 63, 64)]
    found = {0, 1, 2, *edges, *(edge - 1 for edge in edges)}
    return sorted(value for value in found if value >> 8 * size == 0)


def flagged(size, value):
    """A word with its bit 31 set, where it has one, and one with all bits set: some calls look at
    a word only if another has such a flag.
    """
    top = value | 1 << 31
    return {top, (1 << 8 * size) - 1} if size >= 4 else {(1 << 8 * size) - 1}


def operations_of(number):
    """What a hypercall can be asked for, as the fuzzer's tables list it; [None] if one thing."""
    for what in calls.ARGUMENTS.get(calls.NAME_OF[number], ()):
        kind, _, rest = what.partition(":")
        if kind == "op":
            return calls.OPERATIONS[tuple(rest.split(":"))]
        if kind == "vcpu_op":
            return calls.OPERATIONS["VCPUOP_", "vcpu_"]
        if kind == "control":
            named = [command for _, command in calls.commands_of(calls.PREFIXES[rest])]
            return calls.REGISTERED.get(rest, named)
    return [None]


def plain_calls(guest, number, way):
    """Yield each operation of a hypercall as rightly as can be, with its words: the place of each,
    `(register,)` or `(offset, size)`, and its value.
    """
    for operation in operations_of(number):
        words = Words()
        args = calls.Calls(Plain(guest, way, operation)).arguments(0, number, words)
        places = {(i,): value for i, value in enumerate(args)}
        yield Call(operation, args, bytes(words.data)), places | words.places


def replaced(plain, changes):
    """A call with other words at some places."""
    args, data = list(plain.args), bytearray(plain.data)
    for place, value in changes:
        if len(place) == 1:
            args[place[0]] = value
        else:
            offset, size = place
            data[offset : offset + size] = value.to_bytes(size, "little")
    what = ", ".join(f"{place}: {value:#x}" for place, value in changes)
    return Call(plain.operation, args, bytes(data), what)


def size_of(place):
    """How many bytes a word has."""
    return place[1] if len(place) == 2 else REGISTER_BYTES


def calls_with_a_boundary(guest, number, way):
    """Yield every call of a hypercall with one word replaced by a boundary."""
    for plain, words in plain_calls(guest, number, way):
        for place in words:
            for value in bounds_of(size_of(place)):
                yield replaced(plain, [(place, value)])


def calls_with_two_flags(guest, number, way):
    """Yield the short calls of a hypercall with two words flagged."""
    for plain, words in plain_calls(guest, number, way):
        if len(words) <= MOST_WORDS:
            for one, two in combinations(words, 2):
                pairs = product(*(flagged(size_of(place), words[place]) for place in (one, two)))
                for first, second in pairs:
                    yield replaced(plain, [(one, first), (two, second)])
