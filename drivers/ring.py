"""Our end of the page that a front end and a back end share: requests go out, responses come back.

Source: Xen public ABI, io/ring.h. Indices run freely, slots repeat, and a response takes the place
of a request. Each side says at which index it wants the next notification, so while the other one
works anyway nobody rings its bell.
"""

import abi
from kpy import (
    Ptr,
    barrier,
    bit,
    clz,
    fence,
    offsetof,
    ref,
    struct,
    u32,
    u64,
    volatile_load,
    volatile_store,
    wrapping_add,
    wrapping_sub,
)

from libos.layout import PAGE_SIZE
from libos.pages import alloc_pages

SLOTS_OFFSET = offsetof(abi.blkif_sring, "ring")  # the same before every kind of slot


@struct
class Ring:
    """`produced` requests were made, `pushed` of them shown, `consumed` responses taken."""

    page: u64
    slot_bytes: u64
    nr_slots: u32
    produced: u32
    pushed: u32
    consumed: u32

    def make(self, slot_bytes: u64) -> None:
        """Take a page, and have as many slots as the ABI says: a power of two."""
        self.page = alloc_pages(1)
        self.slot_bytes = slot_bytes
        self.nr_slots = u32(bit(63 - clz((PAGE_SIZE - SLOTS_OFFSET) // slot_bytes)))
        header = self.header()
        header.req_event = 1
        header.rsp_event = 1

    def header(self) -> Ptr[abi.blkif_sring]:
        """The four indices, which all kinds of rings begin with; the page is ours for ever."""
        return Ptr[abi.blkif_sring](self.page)

    def slot(self, index: u32) -> u64:
        return self.page + SLOTS_OFFSET + u64(index % self.nr_slots) * self.slot_bytes

    def is_full(self) -> bool:
        return wrapping_sub(self.produced, self.consumed) == self.nr_slots

    def next_request(self) -> u64:
        """Return where the next request is to be written; `push` shows it."""
        assert not self.is_full(), "ring overrun"
        address = self.slot(self.produced)
        self.produced = wrapping_add(self.produced, 1)
        return address

    def push(self) -> bool:
        """Show all new requests.

        Returns: whether the back end wants to be notified.
        """
        header = self.header()
        old = self.pushed
        self.pushed = self.produced
        barrier()  # requests are complete before their index is seen
        volatile_store(ref(header.req_prod), self.pushed)
        fence()  # the back end sees the index before we look whether it sleeps
        event = volatile_load(ref(header.req_event))
        return wrapping_sub(self.pushed, event) < wrapping_sub(self.pushed, old)

    def has_response(self) -> bool:
        waiting = wrapping_sub(volatile_load(ref(self.header().rsp_prod)), self.consumed)
        assert waiting <= wrapping_sub(self.pushed, self.consumed), "more answers than requests"
        barrier()  # the response is read after its index
        return waiting != 0

    def next_response(self) -> u64:
        """Return where the next response is; good until another request is made."""
        address = self.slot(self.consumed)
        self.consumed = wrapping_add(self.consumed, 1)
        return address

    def ask_event(self, distance: u32) -> bool:
        """Ask for a notification once `distance` more responses are there.

        Returns: whether a response came in the meantime, so that there is nothing to wait for.
        """
        volatile_store(ref(self.header().rsp_event), wrapping_add(self.consumed, distance))
        fence()  # the back end sees it before we look for the last time
        return self.has_response()
