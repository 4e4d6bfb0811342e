"""The network card: whole Ethernet frames out and in. Source: Xen public ABI, io/netif.h.

Two rings, one event channel. Every buffer is a page that dom0 may use for as long as the card is
open, so a frame costs a copy and no grant. Checksums are always complete: we have the back end
complete them (`feature-no-csum-offload`), and send none that are not. We offer neither segmentation
offload nor scattered frames; a frame that comes in several pieces nevertheless is put together, and
extra information beside it is skipped.
"""

import abi
from kpy import Array, Ptr, Slice, copy_slice, load, ref, sizeof, struct, u8, u16, u32, u64

from drivers.frontend import Frontend
from drivers.ring import Ring
from libos.event import alloc_unbound, event_count, notify
from libos.grant import grant_access
from libos.internet import MAC_BYTES
from libos.layout import PAGE_SIZE
from libos.pages import alloc_pages
from libos.text import parse_number
from libos.thread import FOREVER, wait_event

MAC_TEXT = 3 * MAC_BYTES - 1  # 00:16:3e:12:34:56
HEADER_BYTES = 14
FRAME_BYTES = 1514  # header and 1500 bytes, without the checksum that no virtual wire needs
NR_BUFFERS = 128  # each way: a power of two, and fewer than a ring has slots
ENOUGH = NR_BUFFERS // 2  # free ones to wait for when there is none: one event for many frames
NO_FRAME = 0


@struct
class Buffers:
    """Adjoining pages, each granted to the back end."""

    pages: u64
    grants: Array[u32, NR_BUFFERS]

    def make(self, domid: u16, is_read_only: bool) -> None:
        self.pages = alloc_pages(NR_BUFFERS)
        for i in range(NR_BUFFERS):
            self.grants[i] = grant_access(domid, self.page(i), is_read_only)

    def page(self, index: u64) -> u64:
        assert index < NR_BUFFERS
        return self.pages + index * PAGE_SIZE


@struct
class Nic:
    """`free` is a stack of `nr_free` buffers to send; those to receive stay in their slots' order.

    `nr_refused` counts frames that the back end did not send, `nr_dropped` those that came damaged,
    with an incomplete checksum, or longer than the caller's buffer.
    """

    frontend: Frontend
    port: u32
    mac: Array[u8, MAC_BYTES]
    sender: Ring
    sent: Buffers
    free: Array[u16, NR_BUFFERS]
    nr_free: u64
    receiver: Ring
    received: Buffers
    nr_refused: u64
    nr_dropped: u64

    def open(self, device: u64) -> bool:
        """Connect to a card; the first one is 0.

        Returns: False when there is none, or its back end gives up.
        """
        if not self.frontend.find(b"vif", device):
            return False
        if not self.frontend.wait_state(abi.XenbusStateInitWait):
            return False
        parse_mac(self.frontend.own_text(b"mac"), ref(self.mac))
        self.make_rings()
        self.tell_offer()
        self.frontend.tell_state(abi.XenbusStateConnected)
        return self.frontend.wait_state(abi.XenbusStateConnected)

    def make_rings(self) -> None:
        """Make both rings, all buffers to send free, all those to receive offered."""
        self.sender.make(sizeof(abi.netif_tx_sring_entry))
        self.receiver.make(sizeof(abi.netif_rx_sring_entry))
        self.sent.make(self.frontend.backend_id, True)
        self.received.make(self.frontend.backend_id, False)
        for i in range(NR_BUFFERS):
            self.free[i] = u16(i)
        self.nr_free = NR_BUFFERS
        for _ in range(NR_BUFFERS):
            self.offer_buffer()
        self.receiver.push()

    def tell_offer(self) -> None:
        """Tell the back end where the rings are, and what we can do."""
        backend = self.frontend.backend_id
        self.port = alloc_unbound(backend)
        front = ref(self.frontend)
        front.tell_number(b"tx-ring-ref", u64(grant_access(backend, self.sender.page, False)))
        front.tell_number(b"rx-ring-ref", u64(grant_access(backend, self.receiver.page, False)))
        front.tell_number(b"event-channel", u64(self.port))
        front.tell_number(b"request-rx-copy", 1)
        front.tell_number(b"feature-rx-notify", 1)
        front.tell_number(b"feature-no-csum-offload", 1)

    # Sending

    def send(self, frame: Slice[u8]) -> None:
        """Send a frame of HEADER_BYTES to FRAME_BYTES; sleeps while all buffers are under way."""
        assert HEADER_BYTES <= len(frame) <= FRAME_BYTES
        if self.nr_free == 0:
            self.wait_free(ENOUGH)
        self.nr_free -= 1
        buffer = u64(self.free[self.nr_free])
        copy_slice(Slice[u8](Ptr[u8](self.sent.page(buffer)), len(frame)), frame)
        request = Ptr[abi.netif_tx_request](self.sender.next_request())
        request.gref = self.sent.grants[buffer]
        request.offset = 0
        request.flags = 0  # one piece, its checksums complete
        request.id = u16(buffer)
        request.size = u16(len(frame))
        if self.sender.push():
            notify(self.port)

    def flush(self) -> None:
        """Sleep until the back end has taken all that was sent."""
        self.wait_free(NR_BUFFERS)

    def wait_free(self, wanted: u64) -> None:
        """Sleep until so many buffers are free."""
        while True:
            seen = event_count(self.port)
            self.collect_sent()
            if self.nr_free >= wanted:
                return
            if not self.sender.ask_event(u32(wanted - self.nr_free)):
                wait_event(self.port, seen, FOREVER)

    def collect_sent(self) -> None:
        """Take back the buffers that the back end is done with."""
        while self.sender.has_response():
            response = Ptr[abi.netif_tx_response](self.sender.next_response())
            assert response.id < NR_BUFFERS and self.nr_free < NR_BUFFERS
            self.nr_refused += u64(response.status != abi.NETIF_RSP_OKAY)
            self.free[self.nr_free] = response.id
            self.nr_free += 1

    # Receiving

    def receive(self, buffer: Slice[u8], deadline_ns: u64) -> u64:
        """Take the next frame, sleeping until there is one, or until a time (or FOREVER).

        Returns: its length; NO_FRAME when the time came first.
        """
        while True:
            seen = event_count(self.port)
            while self.receiver.has_response():
                length = self.take_frame(buffer)
                if length != NO_FRAME:
                    return length
            if self.receiver.ask_event(1):
                continue
            if not wait_event(self.port, seen, deadline_ns):
                return NO_FRAME

    def take_frame(self, buffer: Slice[u8]) -> u64:
        """Put all pieces of a frame into the buffer, and offer their pages anew.

        Returns: its length; NO_FRAME when it had to be dropped.
        """
        length: u64 = 0
        is_good = True
        while True:
            page = self.received.page(u64(self.receiver.consumed % NR_BUFFERS))
            piece = self.next_piece()
            start, size = u64(piece.offset), u64(max(piece.status, 0))
            fits = start + size <= PAGE_SIZE and length + size <= len(buffer)
            is_whole = piece.flags & abi.NETRXF_csum_blank == 0
            is_good = is_good and size > 0 and fits and is_whole
            if is_good:
                source = Slice[u8](Ptr[u8](page + start), size)
                copy_slice(buffer[length : length + size], source)
                length += size
            self.offer_buffer()
            if piece.flags & abi.NETRXF_extra_info != 0:
                self.skip_extra()
            if piece.flags & abi.NETRXF_more_data == 0:
                break
        if self.receiver.push():
            notify(self.port)
        self.nr_dropped += u64(not is_good)
        return length if is_good else NO_FRAME

    def next_piece(self) -> abi.netif_rx_response:
        """Copy a response out of the ring; the back end shows all pieces of a frame at once."""
        assert self.receiver.has_response(), "the back end showed half a frame"
        return load(Ptr[abi.netif_rx_response](self.receiver.next_response()))

    def skip_extra(self) -> None:
        """Pass over what stands in slots of its own about a frame."""
        while True:
            assert self.receiver.has_response(), "the back end showed half a frame"
            extra = Ptr[abi.netif_extra_info](self.receiver.next_response())
            is_last = extra.flags & abi.XEN_NETIF_EXTRA_FLAG_MORE == 0
            self.offer_buffer()
            if is_last:
                return

    def offer_buffer(self) -> None:
        """Let the back end fill the buffer that belongs to the next slot."""
        buffer = self.receiver.produced % NR_BUFFERS
        request = Ptr[abi.netif_rx_request](self.receiver.next_request())
        request.id = u16(buffer)
        request.gref = self.received.grants[buffer]


def parse_mac(text: Slice[u8], mac: Ptr[Array[u8, MAC_BYTES]]) -> None:
    """Read an address such as 00:16:3e:12:34:56."""
    assert len(text) >= MAC_TEXT, "the card has no address"
    for i in range(MAC_BYTES):
        mac[i] = u8(parse_number(text[3 * i : 3 * i + 2], 16))
