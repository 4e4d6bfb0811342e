"""The disk: requests in a ring, data in granted pages. Source: Xen public ABI, io/blkif.h.

`read` and `write` wait for their request; `start` and `finish` let up to MAX_REQUESTS be under way
at once. The caller's own pages are granted to the back end for as long as a request takes. A sector
is 512 bytes.
"""

import abi
from kpy import Array, Ptr, ref, sizeof, struct, u8, u32, u64, zero

from drivers.frontend import Frontend
from drivers.ring import Ring
from libos.event import alloc_unbound, count_event, event_count, notify
from libos.grant import end_access, grant_access
from libos.layout import PAGE_SIZE
from libos.thread import FOREVER, wait_event

SECTOR_BYTES = 512
SECTORS_PER_PAGE = PAGE_SIZE // SECTOR_BYTES
MAX_SEGMENTS = abi.BLKIF_MAX_SEGMENTS_PER_REQUEST
MAX_SECTORS = MAX_SEGMENTS * SECTORS_PER_PAGE  # of one request
MAX_REQUESTS = 32  # the ring has as many slots
XVDA = 202 << 8  # the device number that tools give to the first disk, `xvda`
NO_PAGES = 0


@struct
class Pending:
    """A request: free, under way (`is_used`), or answered (`is_done`) and not finished yet."""

    is_used: bool
    is_done: bool
    is_okay: bool
    nr_segments: u64
    grants: Array[u32, MAX_SEGMENTS]


@struct
class Disk:
    """A request's number is its place in `pending`, and its id in the ring."""

    frontend: Frontend
    ring: Ring
    port: u32
    pending: Array[Pending, MAX_REQUESTS]
    nr_sectors: u64
    can_flush: bool
    is_read_only: bool

    def open(self, device: u64) -> bool:
        """Connect to a disk, e.g. XVDA.

        Returns: False when there is none, or its back end gives up.
        """
        if not self.frontend.find(b"vbd", device):
            return False
        self.offer_ring()
        if not self.frontend.wait_state(abi.XenbusStateConnected):
            return False
        self.nr_sectors = self.frontend.backend_number(b"sectors")
        self.can_flush = self.frontend.backend_number(b"feature-flush-cache") != 0
        self.is_read_only = self.frontend.backend_number(b"info") & abi.VDISK_READONLY != 0
        self.frontend.tell_state(abi.XenbusStateConnected)
        return True

    def offer_ring(self) -> None:
        """Make the ring and tell the back end where it is."""
        self.ring.make(sizeof(abi.blkif_sring_entry))
        self.port = alloc_unbound(self.frontend.backend_id)
        reference = grant_access(self.frontend.backend_id, self.ring.page, False)
        self.frontend.tell_number(b"ring-ref", u64(reference))
        self.frontend.tell_number(b"event-channel", u64(self.port))
        self.frontend.tell_text(b"protocol", abi.XEN_IO_PROTO_ABI_NATIVE)
        self.frontend.tell_state(abi.XenbusStateInitialised)

    def read(self, sector: u64, pages: u64, nr_sectors: u64) -> bool:
        """Fill the first sectors of adjoining pages (1 to MAX_SECTORS).

        Returns: whether it worked.
        """
        return self.finish(self.start(abi.BLKIF_OP_READ, sector, pages, nr_sectors))

    def write(self, sector: u64, pages: u64, nr_sectors: u64) -> bool:
        """Write the first sectors of adjoining pages; `flush` makes it last."""
        return self.finish(self.start(abi.BLKIF_OP_WRITE, sector, pages, nr_sectors))

    def flush(self) -> bool:
        """Have all that was written on the disk for good."""
        if not self.can_flush:
            return True
        return self.finish(self.start(abi.BLKIF_OP_FLUSH_DISKCACHE, 0, NO_PAGES, 0))

    def start(self, operation: u8, sector: u64, pages: u64, nr_sectors: u64) -> u64:
        """Hand a request over; sleeps while MAX_REQUESTS are under way.

        Args:    operation: abi.BLKIF_OP_READ, WRITE or FLUSH_DISKCACHE (without pages).
        Returns: its number, for `finish`, which must be called for each.
        """
        number = self.free_number()
        request = Ptr[abi.blkif_request](self.ring.next_request())
        zero(request)
        request.operation = operation
        request.id = number
        request.sector_number = sector
        pending = ref(self.pending[number])
        pending.is_used, pending.is_done, pending.nr_segments = True, False, 0
        if pages != NO_PAGES:
            assert pages % PAGE_SIZE == 0 and 0 < nr_sectors <= MAX_SECTORS
            self.grant_segments(request, pending, pages, nr_sectors)
        if self.ring.push():
            notify(self.port)
        return number

    def grant_segments(
        self,
        request: Ptr[abi.blkif_request],
        pending: Ptr[Pending],
        pages: u64,
        nr_sectors: u64,
    ) -> None:
        """Make a segment of each page, the last of them perhaps in part."""
        is_read_only = request.operation == abi.BLKIF_OP_WRITE
        left = nr_sectors
        while left > 0:
            here = min(left, SECTORS_PER_PAGE)
            page = pages + pending.nr_segments * PAGE_SIZE
            reference = grant_access(self.frontend.backend_id, page, is_read_only)
            pending.grants[pending.nr_segments] = reference
            segment = ref(request.seg[pending.nr_segments])
            segment.gref = reference
            segment.last_sect = u8(here - 1)
            pending.nr_segments += 1
            left -= here
        request.nr_segments = u8(pending.nr_segments)

    def finish(self, number: u64) -> bool:
        """Sleep until a request is answered, and take its pages back.

        Returns: whether it worked.
        """
        pending = ref(self.pending[number])
        assert pending.is_used, "a request is finished once"
        while not pending.is_done:
            self.wait_response()
        pending.is_used = False
        count_event(self.port)  # another thread may wait for the number
        return pending.is_okay

    def free_number(self) -> u64:
        """Return a number that no request has; sleeps while there is none."""
        while True:
            for number in range(MAX_REQUESTS):
                if not self.pending[number].is_used:
                    return number
            self.wait_response()

    def wait_response(self) -> None:
        """Sleep until the back end has answered something, or another thread took answers."""
        seen = event_count(self.port)
        if not self.collect() and not self.ring.ask_event(1):
            wait_event(self.port, seen, FOREVER)

    def collect(self) -> bool:
        """Take all responses.

        Returns: whether there was any.
        """
        found = False
        while self.ring.has_response():
            response = Ptr[abi.blkif_response](self.ring.next_response())
            pending = ref(self.pending[response.id])
            assert pending.is_used and not pending.is_done, "an answer to no request"
            pending.is_okay = response.status == abi.BLKIF_RSP_OKAY
            for i in range(pending.nr_segments):
                assert end_access(pending.grants[i]), "the back end kept a page"
            pending.is_done = True
            found = True
        return found
