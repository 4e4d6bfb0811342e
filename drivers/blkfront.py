"""The disk: requests in a ring, data in granted pages. Source: Xen public ABI, io/blkif.h.

One request is under way at a time, of up to a page. The caller's page itself is granted to the back
end for as long as that takes. A sector is 512 bytes.
"""

import abi
from kpy import (
    Ptr,
    barrier,
    fence,
    i16,
    offsetof,
    ref,
    sizeof,
    struct,
    u8,
    u32,
    u64,
    volatile_load,
    volatile_store,
    wrapping_add,
    wrapping_sub,
    zero,
)

from drivers.frontend import Frontend
from libos.event import alloc_unbound, event_count, notify
from libos.grant import end_access, grant_access
from libos.layout import PAGE_SIZE
from libos.pages import alloc_pages
from libos.thread import FOREVER, wait_event

SECTOR_BYTES = 512
SECTORS_PER_PAGE = PAGE_SIZE // SECTOR_BYTES
XVDA = 202 << 8  # the device number that tools give to the first disk, `xvda`
RING_SLOTS = 32  # largest power of two that fits in a page
NO_PAGE = 0

assert offsetof(abi.blkif_sring, "ring") + RING_SLOTS * sizeof(abi.blkif_sring_entry) <= PAGE_SIZE


@struct
class Disk:
    """`ring` is a page shared with the back end; `produced` and `consumed` are our ends of it."""

    frontend: Frontend
    ring: u64
    port: u32
    produced: u32
    consumed: u32
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
        self.ring = alloc_pages(1)
        shared = self.shared_ring()
        shared.req_event = 1
        shared.rsp_event = 1
        self.port = alloc_unbound(self.frontend.backend_id)
        reference = grant_access(self.frontend.backend_id, self.ring, False)
        self.frontend.tell_number(b"ring-ref", u64(reference))
        self.frontend.tell_number(b"event-channel", u64(self.port))
        self.frontend.tell_text(b"protocol", abi.XEN_IO_PROTO_ABI_NATIVE)
        self.frontend.tell_state(abi.XenbusStateInitialised)

    def shared_ring(self) -> Ptr[abi.blkif_sring]:
        return Ptr[abi.blkif_sring](self.ring)

    def slot(self, index: u32) -> Ptr[abi.blkif_sring_entry]:
        """Indices run freely, slots repeat. The ring is longer than the one entry that the struct
        shows.
        """
        first = u64(ref(self.shared_ring().ring))
        return Ptr[abi.blkif_sring_entry](
            first + u64(index % RING_SLOTS) * sizeof(abi.blkif_sring_entry)
        )

    def read(self, sector: u64, page: u64, nr_sectors: u64) -> bool:
        """Fill the first sectors of a page (1 to SECTORS_PER_PAGE).

        Returns: whether it worked.
        """
        return self.transfer(abi.BLKIF_OP_READ, sector, page, nr_sectors)

    def write(self, sector: u64, page: u64, nr_sectors: u64) -> bool:
        """Write the first sectors of a page; `flush` makes it last."""
        return self.transfer(abi.BLKIF_OP_WRITE, sector, page, nr_sectors)

    def flush(self) -> bool:
        """Have all that was written on the disk for good."""
        return not self.can_flush or self.transfer(abi.BLKIF_OP_FLUSH_DISKCACHE, 0, NO_PAGE, 0)

    def transfer(self, operation: u8, sector: u64, page: u64, nr_sectors: u64) -> bool:
        """Do one request, and wait for it."""
        request = ref(self.slot(self.produced).req)
        zero(request)
        request.operation = operation
        request.sector_number = sector
        reference: u32 = 0
        if page != NO_PAGE:
            assert page % PAGE_SIZE == 0 and 0 < nr_sectors <= SECTORS_PER_PAGE
            reference = grant_access(
                self.frontend.backend_id, page, operation == abi.BLKIF_OP_WRITE
            )
            request.nr_segments = 1
            request.seg[0].gref = reference
            request.seg[0].last_sect = u8(nr_sectors - 1)
        self.push_request()
        status = self.take_response()
        if page != NO_PAGE:
            assert end_access(reference), "the back end kept a page"
        return status == abi.BLKIF_RSP_OKAY

    def push_request(self) -> None:
        """Hand a request over; the back end is notified when it asked to be."""
        shared = self.shared_ring()
        old = self.produced
        self.produced = wrapping_add(old, 1)
        barrier()  # the request is complete before its index is seen
        volatile_store(ref(shared.req_prod), self.produced)
        fence()  # the back end sees the index before we look whether it sleeps
        event = volatile_load(ref(shared.req_event))
        if wrapping_sub(self.produced, event) < wrapping_sub(self.produced, old):
            notify(self.port)

    def take_response(self) -> i16:
        """Sleep until the back end has answered."""
        shared = self.shared_ring()
        volatile_store(ref(shared.rsp_event), wrapping_add(self.consumed, 1))
        fence()
        while True:
            seen = event_count(self.port)
            if volatile_load(ref(shared.rsp_prod)) != self.consumed:
                break
            wait_event(self.port, seen, FOREVER)
        barrier()
        status = self.slot(self.consumed).rsp.status
        self.consumed = wrapping_add(self.consumed, 1)
        return status
