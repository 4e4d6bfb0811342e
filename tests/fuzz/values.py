"""The numbers that a hostile guest would try: bounds, flags, and what is nearly right here."""

import abi

from tests.fuzz.world import GRANT_PAGE, SHARED_PAGE
from tests.model.guest import ARGUMENTS, BASE, FIRST_DATA_PAGE, PAGE, STACK_PAGE
from tests.model.memory import END, FIRST, NR_BOOT_FRAMES

POWERS = [1 << n for n in range(64)]
BOUNDS = sorted({value & (1 << 64) - 1 for p in POWERS for value in (p - 1, p, p + 1, -p, -p - 1)})
SMALL = list(range(10))
COUNTS = [
    *(0, 1, 1, 1, 1, 2, 2, 3, 4, 15, 16, 17, 31, 32, 33, 63, 64, 511, 512, 513, 1023, 1024, 1025),
    *(0x7FFFFFFF, 1 << 31, 1 << 31 | 1, 1 << 31 | 2, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 32, 1 << 63),
]
DOMIDS = [
    *(abi.DOMID_SELF, abi.DOMID_IO, abi.DOMID_XEN, abi.DOMID_INVALID, abi.DOMID_IDLE),
    *(abi.DOMID_COW, abi.DOMID_FIRST_RESERVED, abi.DOMID_FIRST_RESERVED - 1, 77, 0xFFFF),
]
FRAMES = [0, 1, FIRST - 1, FIRST, FIRST + NR_BOOT_FRAMES, END - 1, END, END + 1, (1 << 40) - 1]
PRESENT, WRITE, USER, CACHE, ACCESSED, DIRTY, LARGE, GLOBAL = (
    *(1, 2, 4, 1 << 4),
    *(1 << n for n in range(5, 9)),
)
GOOD_FLAGS = [PRESENT | USER, PRESENT | WRITE | USER, PRESENT | WRITE | USER | ACCESSED | DIRTY]
CORE_ADDRESSES = [
    *(0xFFFF800000000000, 0xFFFF7FFFFFFFFFFF, 0xFFFF82D040000000, 0xFFFF830000000000),
    *(0xFFFF880000000000, 0xFFFF87FFFFFFFFF8, 0x00007FFFFFFFFFF8, 0x0000800000000000),
    *(0xFFFFFFFFFFFFFFF8, 0xFFFF820000000000, 0xFFFF820000010000, 0),
]
NR_PAGES = 24
SLOTS = {
    1: [*range(FIRST_DATA_PAGE, 28), 40, 41, 42, 43, 44, 100, 511],
    2: [0, 1, 2, 511],
    3: [0, 1, 510, 511],
    4: [0, 1, 255, 256, 260, 271, 272, 511],
}
MASK = {1: 0xFF, 2: 0xFFFF, 4: 0xFFFFFFFF, 8: (1 << 64) - 1}
FLUSHES = [
    *(abi.UVMF_INVLPG | abi.UVMF_ALL, abi.UVMF_TLB_FLUSH | abi.UVMF_ALL, abi.UVMF_INVLPG),
    *(0, abi.UVMF_TLB_FLUSH, abi.UVMF_TLB_FLUSH | abi.UVMF_LOCAL, 3),
]


class Draw:
    """Draws values for an actor of a world, all from one source of chance."""

    def __init__(self, random, world):
        self.random, self.world = random, world
        self.pick = random.choice
        self.seen = [0]  # values that earlier calls returned
        self.nr_actors = len(world.actors)
        self.ids = [guest.id for guest in world.guests]
        self.free = world.first_free
        self.focus = None  # a page that is drawn often: (guest, number)

    def chance(self, percent):
        return self.random.random() * 100 < percent

    def below(self, end):
        return int(self.random.random() * end)

    def guest(self, actor):
        return self.world.owner[actor]

    def number(self):
        """Any number: small, near a bound, all ones, random, or one that was seen."""
        kind = self.below(8)
        if kind < 3:
            return self.pick(SMALL)
        if kind < 5:
            return self.pick(BOUNDS)
        if kind == 5:
            return self.pick(COUNTS)
        if kind == 6:
            return self.pick(self.seen)
        return self.random.getrandbits(64) >> self.below(64)

    def flags(self):
        """A few bits, or a small number."""
        if self.chance(50):
            return self.pick(SMALL)
        value = self.pick(POWERS)
        while self.chance(50):
            value |= self.pick(POWERS)
        return value >> 32 * self.below(2)

    def count(self):
        return self.pick(COUNTS)

    def domid(self):
        return self.pick(self.ids) if self.chance(60) else self.pick(DOMIDS)

    def port(self):
        return self.below(12) if self.chance(85) else self.number()

    def reference(self):
        return self.below(9) if self.chance(85) else self.number()

    def handle(self):
        return self.below(5) if self.chance(85) else self.number()

    def vcpu(self):
        return self.below(3) if self.chance(85) else self.number()

    def time(self):
        if self.chance(70):
            return 1_000_000_000 + self.below(1 << 28)
        return self.number()

    def frame(self, actor):
        """A frame to name: most often one of the caller's."""
        kind, guest = self.below(16), self.guest(actor)
        if self.focus and kind < 10:
            return self.focus[0].pages[self.focus[1]]
        if kind < 9:
            return self.pick(guest.pages[FIRST_DATA_PAGE:NR_PAGES])
        if kind < 11:
            return self.pick(guest.pages[:4])
        if kind < 13:
            return self.pick(self.pick(self.world.guests).pages)
        if kind == 13:
            return self.free + self.below(8)
        return self.pick(FRAMES) if kind == 14 else self.number()

    def page_number(self):
        """One of the data pages, the first ones more often."""
        if self.focus and self.chance(70):
            return self.focus[1]
        return FIRST_DATA_PAGE + self.below(5 if self.chance(60) else NR_PAGES - FIRST_DATA_PAGE)

    def entry(self, actor):
        """A page-table entry."""
        if self.chance(4):
            return self.number()
        flags = self.pick(GOOD_FLAGS)
        if self.chance(25):
            flags ^= self.pick(POWERS)
        return self.frame(actor) << 12 & 0xFFFFFFFFFFFFF000 | flags if self.chance(92) else flags

    def slot(self, actor):
        """The machine address of a page-table entry, and a command of mmu_update."""
        level = 1 + self.below(4) if self.chance(50) else 1
        if self.chance(60):
            table = self.guest(actor).pages[4 - level]
        else:
            table = self.frame(actor)
        command = self.pick((0, 0, 0, 0, 2, 1, 3, 4))
        return table << 12 | self.pick(SLOTS[level]) * 8 | command

    def data_address(self):
        return BASE + self.page_number() * PAGE

    def address(self):
        """An address for the core to use, most often a good one."""
        kind = self.below(16)
        if kind < 5:
            return ARGUMENTS + 8 * self.below(512)
        if kind < 9:
            return self.data_address() + self.pick((0, 0, 8, PAGE - 8, PAGE - 4, PAGE - 1))
        if kind == 9:
            return BASE + self.pick((0, 1, 2, 3, STACK_PAGE, 24, 28, 300)) * PAGE
        if kind == 10:
            return self.pick((GRANT_PAGE, SHARED_PAGE)) + 8 * self.below(512)
        if kind < 13:
            return 0
        return self.pick(CORE_ADDRESSES) if kind < 15 else self.number()

    def place(self, size, actor):
        """Where to put data of a size: anywhere, across a page's end, or before one that is not
        mapped.
        """
        kind = self.below(10)
        if kind == 0:
            return BASE + NR_PAGES * PAGE - (size + 7) // 8 * 8
        if kind == 1:
            return ARGUMENTS + PAGE - 8 * (1 + self.below(size // 8 + 1))
        return self.home(actor)

    def home(self, actor):
        """Where a vCPU keeps its arguments: not where the other of its domain does."""
        return ARGUMENTS + 2 * PAGE * (self.world.actors[actor][1] % 2)

    def choices(self):
        """When a long call is interrupted."""
        if self.chance(75):
            return 0
        return self.random.getrandbits(64) & (
            self.random.getrandbits(64) if self.chance(50) else -1
        )
