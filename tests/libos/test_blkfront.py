"""The disk front end against a back end in Python: many laps, many requests at once, errors."""

import ctypes
import random

import abi
import pytest
from kpy import jit

from drivers.blkfront import MAX_REQUESTS, MAX_SECTORS, Disk
from tests.libos.ring_machine import PAGE, SLOTS_OFFSET, BackEnd, pages

SECTOR = 512
SLOT_BYTES = abi.blkif_sring_entry.size
READ, WRITE, FLUSH = abi.BLKIF_OP_READ, abi.BLKIF_OP_WRITE, abi.BLKIF_OP_FLUSH_DISKCACHE


class DiskBackEnd(BackEnd):
    """Serves the ring from a byte array whenever the front end waits."""

    def __init__(self):
        super().__init__("drivers.blkfront")
        self.data_pages = pages(11)
        self.start_over()

    def start_over(self, index=0):
        """A new disk, an empty ring."""
        self.disk = bytearray(256 * SECTOR)
        self.granted, self.served, self.notified, self.status = {}, index, 0, 0
        self.operations, self.limit, self.shuffle = [], None, False
        self.front = self.program.new(Disk, port=7, can_flush=True)
        self.program["drivers.ring.Ring.make"](self.front.ring, SLOT_BYTES)
        for name in ("produced", "pushed", "consumed"):
            setattr(self.front.ring, name, index)
        self.ring = self.program["drivers.ring.Ring.header"](self.front.ring)
        self.ring.req_prod = self.ring.rsp_prod = index
        self.ring.req_event = self.ring.rsp_event = (index + 1) % 2**32

    def slot(self, index):
        return self.front.ring.page + SLOTS_OFFSET + index % MAX_REQUESTS * SLOT_BYTES

    def serve(self):
        """Answer requests, all or the next `limit`, in any order when `shuffle` is set."""
        waiting = (self.ring.req_prod - self.served) % 2**32
        first, count = self.served, min(waiting, self.limit or waiting)
        requests = [ctypes.string_at(self.slot(first + i), SLOT_BYTES) for i in range(count)]
        if self.shuffle:
            random.Random(first).shuffle(requests)
        for i, request in enumerate(requests):
            ctypes.memmove(self.slot(first + i), self.answer(request), 12)
        self.served = (self.served + count) % 2**32
        self.ring.req_event = (self.served + 1) % 2**32
        self.ring.rsp_prod = self.served
        self.events += 1

    def answer(self, request):
        operation, segments = request[0], request[1]
        identifier, sector = (int.from_bytes(request[at : at + 8], "little") for at in (8, 16))
        self.operations.append((operation, sector, segments))
        for i in range(segments):
            segment = request[24 + 8 * i : 32 + 8 * i]
            address, is_read_only = self.granted[int.from_bytes(segment[:4], "little")]
            assert is_read_only == (operation == WRITE)
            assert segment[4] == 0
            length = (segment[5] + 1) * SECTOR
            start = sector * SECTOR
            if operation == READ:
                ctypes.memmove(address, bytes(self.disk[start : start + length]), length)
            else:
                self.disk[start : start + length] = ctypes.string_at(address, length)
            sector += segment[5] + 1
        response = identifier.to_bytes(8, "little") + bytes([operation, 0])
        return response + (self.status & 0xFFFF).to_bytes(2, "little")


@pytest.fixture(scope="module")
def shared_back():
    return DiskBackEnd()


@pytest.fixture
def back(shared_back):
    shared_back.start_over()
    return shared_back


def call(back, name, *arguments):
    return back.call("Disk", name, *arguments)


def test_what_is_written_is_read_back(back):
    page = back.data_pages[1]
    ctypes.memmove(page, bytes(range(256)) * 16, PAGE)
    assert call(back, "write", 3, page, 8)
    ctypes.memset(page, 0, PAGE)
    assert call(back, "read", 4, page, 2)
    assert ctypes.string_at(page, 2 * SECTOR) == bytes(range(256)) * 4
    assert back.operations == [(WRITE, 3, 1), (READ, 4, 1)]
    assert not back.granted, "every grant was taken back"


def test_a_request_of_many_pages(back):
    first = back.data_pages[1]
    content = random.Random(1).randbytes(MAX_SECTORS * SECTOR)
    ctypes.memmove(first, content, len(content))
    assert call(back, "write", 0, first, MAX_SECTORS)
    ctypes.memset(first, 0, len(content))
    assert call(back, "read", 0, first, MAX_SECTORS - 3)
    read = (MAX_SECTORS - 3) * SECTOR
    assert ctypes.string_at(first, len(content)) == content[:read].ljust(len(content), b"\0")
    assert back.operations == [(WRITE, 0, 11), (READ, 0, 11)]
    assert not back.granted


@pytest.mark.parametrize("limit", [None, 5])
def test_many_requests_at_once_answered_in_any_order(back, limit):
    """Three times as many as the ring holds, each finished as late as possible."""
    back.disk[:] = random.Random(2).randbytes(len(back.disk))
    back.shuffle, back.limit = True, limit
    page, numbers = back.data_pages[1], []
    for sector in range(3 * MAX_REQUESTS):
        if len(numbers) == MAX_REQUESTS:
            assert call(back, "finish", numbers.pop(0))
        numbers.append(call(back, "start", READ, sector, page + sector % 11 * PAGE, 1))
    assert len(set(numbers)) == MAX_REQUESTS, "each under way has its own number"
    for number_ in numbers:
        assert call(back, "finish", number_)
    assert sorted(s for _, s, _ in back.operations) == list(range(3 * MAX_REQUESTS))
    assert not back.granted


def test_the_ring_goes_round_and_indices_wrap(back):
    start = 2**32 - 20
    back.start_over(start)
    for i in range(3 * MAX_REQUESTS):
        assert call(back, "read", i % 60, back.data_pages[1], 1)
    assert back.front.ring.produced == (start + 3 * MAX_REQUESTS) % 2**32
    assert back.notified == 3 * MAX_REQUESTS


def test_no_notification_when_the_back_end_is_awake(back):
    back.ring.req_event = 1000
    assert call(back, "read", 0, back.data_pages[1], 1)
    assert back.notified == 0


def test_errors_are_reported(back):
    back.status = abi.BLKIF_RSP_ERROR
    assert not call(back, "read", 0, back.data_pages[1], 1)
    assert not call(back, "flush")


def test_flush_carries_no_page_and_is_left_out_when_unknown(back):
    assert call(back, "flush")
    assert back.operations == [(FLUSH, 0, 0)]
    back.front.can_flush = False
    assert call(back, "flush")
    assert len(back.operations) == 1


@pytest.mark.parametrize(("page_offset", "sectors"), [(8, 1), (0, 0), (0, MAX_SECTORS + 1)])
def test_impossible_transfers_are_panics(back, page_offset, sectors):
    with pytest.raises(jit.KpyPanic):
        call(back, "read", 0, back.data_pages[1] + page_offset, sectors)


def test_a_request_is_finished_once(back):
    request = call(back, "start", READ, 0, back.data_pages[1], 1)
    assert call(back, "finish", request)
    with pytest.raises(jit.KpyPanic, match="finished once"):
        call(back, "finish", request)


@pytest.mark.parametrize("claimed", [2, 1000])
def test_more_answers_than_requests_are_a_panic(back, claimed):
    request = call(back, "start", READ, 0, back.data_pages[1], 1)
    back.ring.rsp_prod = claimed
    with pytest.raises(jit.KpyPanic, match="more answers"):
        call(back, "finish", request)
