"""Who does what to one frame in a race: actors, and the registry of their operations.

The frame is its owner's page 9. An operation is done by one of the owner's two vCPUs, by one of two
other domains that have grants of the frame, or by domain 0 as the one with rights to all memory.
"""

from dataclasses import dataclass

from kernel.frames.page_type import TYPE_COUNT_MASK
from tests.model import stage
from tests.model.guest import FIRST_DATA_PAGE
from tests.model.race import read, write
from tests.model.stage import address, entry, remap
from tests.model.turns import PAGE_FAULT

OPERATIONS = {}
OWNER, OTHER, DOM0 = "owner", "other", "dom0"  # who does an operation
FRAME_PAGE = FIRST_DATA_PAGE
DATA_PAGE = FIRST_DATA_PAGE + 1  # of the owner: what the frame leads to as a page table
SPARE_PAGE = 20  # where actors map the frame, each at its own


@dataclass(frozen=True)
class Operation:
    name: str
    who: str
    make: object


@dataclass
class Actor:
    """Who does an operation, and on what."""

    machine: object
    guest: object
    vcpu: int
    owner: object
    number: int  # 0 or 1: the first or the second of the pair

    @property
    def frame(self):
        return self.owner.pages[FRAME_PAGE]

    @property
    def data(self):
        return entry(self.owner.pages[DATA_PAGE])

    @property
    def at(self):
        """Where this actor maps the frame."""
        return address(SPARE_PAGE + self.number)

    @property
    def ref(self):
        """The number of the grant of the frame to this actor."""
        return 1 if self.guest is self.machine.dom0 else 2

    def prepare(self, *steps):
        """Do steps now, as far as they are possible."""
        for step in steps:
            stage.do(self.guest, step, self.vcpu)

    def touch(self, va, step=read):
        """Let the processor know a translation."""
        word = [0] if step is write else []
        stage.access(self.machine, self.guest, step(va, *word), self.vcpu)

    def fault(self, address):
        """Let the core mend a page fault of this actor's now."""
        self.machine.trap(self.guest.vcpu(self.vcpu), PAGE_FAULT, 0, address)

    def map_own(self, flags):
        """Map the frame, and let the processor know."""
        self.prepare(remap(self.at, entry(self.frame, flags)))
        self.touch(self.at)

    def contents(self, level):
        """Let the frame look like a page table of a level: it leads to the next level's. Not if
        it is in use.
        """
        if self.machine.frame(self.frame).info & TYPE_COUNT_MASK:
            return
        pages = self.owner.pages
        if level == 4:
            words = {511: entry(pages[1])}
        else:
            words = {0: self.data if level == 1 else entry(pages[5 - level])}
        stage.fill(self.machine, self.frame, words)


def operation(who, name=None):
    """Enter a function from an actor to its steps."""

    def enter(make):
        label = name or make.__name__
        OPERATIONS[label] = Operation(label, who, make)
        return make

    return enter
