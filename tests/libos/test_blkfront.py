"""The disk front end against a back end in Python: the ring over many laps, errors."""

import ctypes

import abi
import pytest
from kpy import jit

from drivers.blkfront import RING_SLOTS, Disk

PAGE, SECTOR = 4096, 512
RING_OFFSET = abi.blkif_sring.fields["ring"].offset
SLOT_BYTES = abi.blkif_sring_entry.size
READ, WRITE, FLUSH = abi.BLKIF_OP_READ, abi.BLKIF_OP_WRITE, abi.BLKIF_OP_FLUSH_DISKCACHE


class BackEnd:
    """Serves the ring from a byte array whenever the front end waits."""

    def __init__(self):
        self.events = 0
        self.program = jit.load(
            "drivers.blkfront",
            replace={
                "libos.grant.grant_access": self.grant_access,
                "libos.grant.end_access": lambda reference: self.granted.pop(reference) != 0,
                "libos.event.notify": self.notify,
                "libos.event.event_count": lambda port: self.events,
                "libos.thread.wait_event": self.serve,
            },
        )
        self.ring_page, self.data_page = aligned_page(), aligned_page()
        self.start_over()

    def start_over(self):
        """A new disk, an empty ring."""
        self.disk = bytearray(64 * SECTOR)
        self.granted, self.served, self.notified, self.status = {}, 0, 0, 0
        self.operations = []
        ctypes.memset(self.ring_page[1], 0, PAGE)
        self.front = self.program.new(Disk, port=7, can_flush=True, ring=self.ring_page[1])
        self.ring = call(self, "shared_ring")
        self.ring.req_event = self.ring.rsp_event = 1

    def grant_access(self, domid, address, is_read_only):
        reference = 8 + len(self.granted)
        self.granted[reference] = address
        return reference

    def notify(self, port):
        self.notified += 1

    def serve(self, port, seen, deadline):
        """Answer every request; called when the front end waits."""
        while self.served != self.ring.req_prod:
            self.answer(self.front.ring + RING_OFFSET + self.served % RING_SLOTS * SLOT_BYTES)
            self.served = (self.served + 1) % 2**32
        self.ring.req_event = (self.served + 1) % 2**32
        self.ring.rsp_prod = self.served
        self.events += 1
        return True

    def answer(self, slot):
        operation, segments = ctypes.string_at(slot, 2)
        identifier, sector = (
            int.from_bytes(ctypes.string_at(slot + at, 8), "little") for at in (8, 16)
        )
        self.operations.append((operation, sector, segments))
        if segments:
            reference = int.from_bytes(ctypes.string_at(slot + 24, 4), "little")
            length = (ctypes.string_at(slot + 29, 1)[0] + 1) * SECTOR
            address, start = self.granted[reference], sector * SECTOR
            if operation == READ:
                ctypes.memmove(address, bytes(self.disk[start : start + length]), length)
            else:
                self.disk[start : start + length] = ctypes.string_at(address, length)
        response = identifier.to_bytes(8, "little") + bytes([operation, 0])
        response += (self.status & 0xFFFF).to_bytes(2, "little")
        ctypes.memmove(slot, response, len(response))


def aligned_page():
    buffer = ctypes.create_string_buffer(2 * PAGE)
    return buffer, (ctypes.addressof(buffer) + PAGE - 1) // PAGE * PAGE


@pytest.fixture(scope="module")
def shared_back():
    return BackEnd()


@pytest.fixture
def back(shared_back):
    shared_back.start_over()
    return shared_back


def call(back, name, *arguments):
    return back.program[f"drivers.blkfront.Disk.{name}"](back.front, *arguments)


def test_what_is_written_is_read_back(back):
    page = back.data_page[1]
    ctypes.memmove(page, bytes(range(256)) * 16, PAGE)
    assert call(back, "write", 3, page, 8)
    ctypes.memset(page, 0, PAGE)
    assert call(back, "read", 4, page, 2)
    assert ctypes.string_at(page, 2 * SECTOR) == bytes(range(256)) * 4
    assert back.operations == [(WRITE, 3, 1), (READ, 4, 1)]
    assert not back.granted, "every grant was taken back"


def test_the_ring_goes_round_and_indices_wrap(back):
    start = 2**32 - 20
    back.front.produced = back.front.consumed = back.served = start
    back.ring.req_prod = back.ring.rsp_prod = start
    back.ring.req_event = start + 1
    for i in range(3 * RING_SLOTS):
        assert call(back, "read", i % 60, back.data_page[1], 1)
    assert back.front.produced == (start + 3 * RING_SLOTS) % 2**32
    assert back.notified == 3 * RING_SLOTS


def test_no_notification_when_the_back_end_is_awake(back):
    back.ring.req_event = 1000
    assert call(back, "read", 0, back.data_page[1], 1)
    assert back.notified == 0


def test_errors_are_reported(back):
    back.status = abi.BLKIF_RSP_ERROR
    assert not call(back, "read", 0, back.data_page[1], 1)
    assert not call(back, "flush")


def test_flush_carries_no_page_and_is_left_out_when_unknown(back):
    assert call(back, "flush")
    assert back.operations == [(FLUSH, 0, 0)]
    back.front.can_flush = False
    assert call(back, "flush")
    assert len(back.operations) == 1


@pytest.mark.parametrize(("page_offset", "sectors"), [(8, 1), (0, 0), (0, 9)])
def test_impossible_transfers_are_panics(back, page_offset, sectors):
    with pytest.raises(jit.KpyPanic):
        call(back, "read", 0, back.data_page[1] + page_offset, sectors)
