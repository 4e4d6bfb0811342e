"""Where everything in a new domain goes, before a single page of it exists.

Frames are handed out from the kernel's first page upwards, in the order that the ABI gives: kernel,
ramdisk (if the kernel wants it mapped), frame list (ditto), start_info, xenstore page, console
page, page tables, boot stack; the mapped region ends on a 4 MiB boundary. Behind it come the frame
list with page tables of its own, for a kernel that names an address for it (INIT_P2M), and a
ramdisk that is only named by its frame (MOD_START_PFN).
Source: Xen public ABI, xen.h, "start-of-day memory layout"; elfnote.h.
"""

from dataclasses import dataclass, field

from xen.privcmd import PAGE_SIZE

from xend.pagetables import tables_for

REGION_BYTES = 4 << 20
SPARE_BYTES = 512 << 10


class TooLittleMemory(ValueError):
    """The domain would not fit; `needed_mib` would do."""

    def __init__(self, needed_mib):
        super().__init__(f"at least {needed_mib} MiB are needed")
        self.needed_mib = needed_mib


@dataclass(frozen=True)
class Extent:
    """Some consecutive page frames."""

    pfn: int
    pages: int

    @property
    def end(self):
        """The frame after the last."""
        return self.pfn + self.pages


@dataclass
class Layout:
    """The plan of a domain with `nr_pages` pages. Frame numbers are the guest's own."""

    kernel: object
    nr_pages: int
    ramdisk_bytes: int
    extents: dict = field(default_factory=dict)
    next_pfn: int = 0

    def __post_init__(self):
        self.next_pfn = _pages(self.kernel.end - self.kernel.virt_base)
        p2m_pages = _pages(self.nr_pages * 8)
        ramdisk_pages = _pages(self.ramdisk_bytes)
        separate_p2m = self.kernel.init_p2m is not None
        if not self.kernel.mod_start_pfn:
            self._take("ramdisk", ramdisk_pages)
        if not separate_p2m:
            self._take("p2m", p2m_pages)
        for name in ("start_info", "store", "console"):
            self._take(name, 1)
        self._take_pagetables()
        if separate_p2m:
            self.next_pfn = self.mapped_end
            self._take("p2m", p2m_pages)
            tables = tables_for(self.kernel.init_p2m, p2m_pages)
            self._take("p2m_tables", sum(tables[:3]))
        if self.kernel.mod_start_pfn:
            self._take("ramdisk", ramdisk_pages)
        if self.next_pfn > self.nr_pages:
            raise TooLittleMemory(-(-self.next_pfn * PAGE_SIZE >> 20) + 1)
        self.mapped_end = min(self.mapped_end, self.nr_pages)

    def _take(self, name, pages):
        self.extents[name] = Extent(self.next_pfn, pages)
        self.next_pfn += pages

    def _take_pagetables(self):
        """The tables must map themselves, so their number is found by trying."""
        count = 0
        while True:
            end = (self.next_pfn + count + 1) * PAGE_SIZE + SPARE_BYTES
            top = self.kernel.virt_base + end
            top = (top + REGION_BYTES - 1) // REGION_BYTES * REGION_BYTES
            mapped = (top - self.kernel.virt_base) // PAGE_SIZE
            needed = sum(tables_for(self.kernel.virt_base, mapped))
            if needed <= count:
                break
            count = needed
        self._take("pagetables", count)
        self._take("stack", 1)
        self.mapped_end = mapped

    def __getitem__(self, name):
        return self.extents[name]

    def virtual(self, name):
        """Return the address at which the initial page tables map an extent."""
        return self.kernel.virt_base + self.extents[name].pfn * PAGE_SIZE


def _pages(size_bytes):
    return -(-size_bytes // PAGE_SIZE)
