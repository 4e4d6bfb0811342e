"""A new domain's first page tables, made in bulk.

The hypervisor checks every entry when the top-level table is pinned. Its rule that shapes this
file: a frame that is a page table may be mapped, but only read-only.
"""

from array import array

from xen.privcmd import PAGE_SIZE

PRESENT, WRITABLE, USER, ACCESSED, DIRTY = 1, 2, 4, 0x20, 0x40
L1_FLAGS = PRESENT | WRITABLE | ACCESSED
TABLE_FLAGS = PRESENT | WRITABLE | USER | ACCESSED | DIRTY
SHIFTS = (12, 21, 30, 39)
ENTRIES = 512


def span(start, pages, level):
    """Return the first and last table index of a level (1-3) that a range of addresses needs."""
    shift = SHIFTS[level]
    return start >> shift, (start + pages * PAGE_SIZE - 1) >> shift


def tables_for(start, pages):
    """Return how many tables of levels 1, 2, 3 and 4 map `pages` pages from address `start`."""
    counts = []
    for level in (1, 2, 3):
        first, last = span(start, pages, level)
        counts.append(last - first + 1)
    return (*counts, 1)


class PageTables:
    """Tables under construction, over frames that are numbered by the guest's frame list `p2m`.

    `tables` is {pfn: array('Q') of 512 entries}. Table frames are taken in order from what `map` is
    given.
    """

    def __init__(self, p2m, top_pfn):
        self.p2m = p2m
        self.top_pfn = top_pfn
        self.tables = {top_pfn: _empty()}
        self.windows = []

    def map(self, start, first_pfn, pages, frames):
        """Map consecutive frames from an address; `frames` iterates over pfns for new tables."""
        above = None
        for level in (3, 2, 1):
            above = self._level(start, pages, level, above, frames)
        self._leaves(start, first_pfn, pages, above)
        self.windows.append((start, first_pfn, pages, above))

    def _level(self, start, pages, level, above, frames):
        """Make the tables of one level and enter them in the level above; returns {index: pfn}."""
        first, last = span(start, pages, level)
        made = {}
        for index in range(first, last + 1):
            pfn = made[index] = next(frames)
            self.tables[pfn] = _empty()
            parent = self.tables[above[index >> 9] if above else self.top_pfn]
            parent[index % ENTRIES] = self.p2m[pfn] << 12 | TABLE_FLAGS
        return made

    def _leaves(self, start, first_pfn, pages, tables):
        page = start >> 12
        done = 0
        while done < pages:
            slot = (page + done) % ENTRIES
            count = min(ENTRIES - slot, pages - done)
            frames = self.p2m[first_pfn + done : first_pfn + done + count]
            entries = array("Q", [mfn << 12 | L1_FLAGS for mfn in frames])
            self.tables[tables[(page + done) >> 9]][slot : slot + count] = entries
            done += count

    def protect(self):
        """Make the tables read-only wherever they are mapped; the last step."""
        for pfn in self.tables:
            for start, first_pfn, pages, leaves in self.windows:
                if first_pfn <= pfn < first_pfn + pages:
                    page = (start >> 12) + pfn - first_pfn
                    self.tables[leaves[page >> 9]][page % ENTRIES] &= ~WRITABLE


def _empty():
    return array("Q", bytes(PAGE_SIZE))
