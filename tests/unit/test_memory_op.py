"""memory_op on a domain's own frames: populate, give up, exchange; errors change nothing."""

import abi
import pytest

from kernel.frames.page_type import PGT_writable_page
from tests.unit.guest import GuestMemory
from tests.unit.memory_machine import NR_FRAMES, MemoryMachine

ARGUMENT, LIST, LIST2 = 0x10000, 0x11000, 0x12000
UNMAPPED = 0x40000


class Machine(MemoryMachine):
    def __init__(self, **others):
        self.guest = GuestMemory(ARGUMENT, 0x4000)
        super().__init__(
            "kernel.memory.reservation",
            also=[
                "kernel.memory.exchange",
                "kernel.frames.page_type",
                "kernel.frames.allocation",
                "kernel.frames.frame",
            ],
            replace={
                "kernel.base.guest_memory.copy_bytes_from_guest": self.guest.copy_from_guest,
                "kernel.base.guest_memory.copy_bytes_to_guest": self.guest.copy_to_guest,
                "kernel.x86.preempt.preempt_pending": lambda: False,
                "kernel.state.domain.get_domain_or_self": lambda caller, number: (
                    caller if number == abi.DOMID_SELF else self.domains.get(number)
                ),
                "kernel.state.domain.put_domain": lambda d: None,
                **others,
            },
        )

    def start_over(self):
        super().start_over()
        self["kernel.state.frame_table.max_page"].value = 1 << 20
        self.domain = self.new_domain(1)
        if hasattr(self, "vcpu"):
            self.vcpu.domain = self.domain

    def place_list(self, address, words):
        self.guest.write(address, b"".join(word.to_bytes(8, "little") for word in words))

    def reservation(self, count, address=LIST, order=0, flags=0, domid=abi.DOMID_SELF):
        return self.program.new(
            abi.xen_memory_reservation,
            extent_start=address,
            nr_extents=count,
            extent_order=order,
            mem_flags=flags,
            domid=domid,
        )

    def call(self, operation, argument, start=0):
        self.guest.write(ARGUMENT, bytes(argument))
        return self[f"{operation}.entry"](self.vcpu, start, ARGUMENT)

    def populate(self, pfns, **fields):
        self.place_list(LIST, pfns)
        operation = "kernel.memory.reservation.memory_populate_physmap"
        return self.call(operation, self.reservation(len(pfns), **fields))

    def decrease(self, mfns, **fields):
        self.place_list(LIST, mfns)
        operation = "kernel.memory.reservation.memory_decrease_reservation"
        return self.call(operation, self.reservation(len(mfns), **fields))

    def exchange(self, given, wanted, **fields):
        request = self.program.new(abi.xen_memory_exchange, **fields)
        request.in_, request.out = given, wanted
        result = self.call("kernel.memory.exchange.memory_exchange", request)
        return result, self.guest.words(ARGUMENT + 64, 1)[0]


def test_populate_and_give_up(machine):
    assert machine.populate([10, 20, 30], order=1) == 3
    mfns = machine.guest.words(LIST, 3)
    assert machine.domain.tot_pages == 6
    entry = (mfns[1] - 0x100) * 8
    machine.m2p.seek(entry)
    assert machine.m2p.read(16) == (20).to_bytes(8, "little") + (21).to_bytes(8, "little")
    assert machine.decrease(mfns, order=1) == 3
    assert machine.domain.tot_pages == 0 and machine.nr_free == NR_FRAMES


def test_as_many_as_there_are(machine):
    machine.domain.max_pages = 2
    assert machine.populate([1, 2, 3]) == 2
    mfns = machine.guest.words(LIST, 2)
    assert machine.decrease([mfns[0], 1 << 40, mfns[1]]) == 1, "up to the first bad one"


@pytest.mark.parametrize(
    "fields",
    [{"order": 10}, {"flags": 12}, {"domid": 2}, {"domid": 9}, {"address": UNMAPPED}],
    ids=["order", "address bits", "foreign", "no domain", "list"],
)
def test_nothing_is_done(machine, fields):
    machine.new_domain(2)
    assert machine.populate([1], **fields) == 0
    assert machine.nr_free == NR_FRAMES


def test_a_shared_core_page_cannot_be_given_up(machine):
    mfn = machine.alloc(machine.domain)
    machine.frame(mfn).info |= 1 << 29
    assert machine.decrease([mfn]) == 0
    assert machine.counts(mfn) == (1, 0, 0)


def test_exchange_for_adjacent_frames(machine):
    assert machine.populate(list(range(8))) == 8
    mfns = machine.guest.words(LIST, 8)
    machine.place_list(LIST2, [40, 44])
    wanted = machine.reservation(2, LIST2, order=2)
    assert machine.exchange(machine.reservation(8), wanted) == (0, 8)
    new = machine.guest.words(LIST2, 2)
    assert all(mfn % 4 == 0 for mfn in new) and machine.domain.tot_pages == 8
    assert not set(range(new[0], new[0] + 4)) & set(mfns)
    assert machine.counts(new[1] + 3) == (1, 0, 0) and machine.nr_free == NR_FRAMES - 8


def test_exchange_of_a_frame_in_use(machine):
    """The second chunk has a mapped frame: the first is exchanged, of the second nothing."""
    assert machine.populate([0, 1, 2, 3]) == 4
    mfns = machine.guest.words(LIST, 4)
    assert machine["kernel.frames.page_type.get_frame_and_type"](
        mfns[3], machine.domain, PGT_writable_page
    )
    machine.place_list(LIST2, [8, 10])
    wanted = machine.reservation(2, LIST2, order=1)
    nr_flushes = len(machine.flushes)
    assert machine.exchange(machine.reservation(4), wanted) == (-abi.EINVAL, 2)
    assert machine.counts(mfns[2]) == (1, 0, 0), "given back"
    assert len(machine.flushes) == nr_flushes + 2, "of the new frames, and of the one given back"
    assert machine.domain.tot_pages == 4 and machine.nr_free == NR_FRAMES - 4


def test_exchange_without_memory(machine):
    assert machine.populate([0, 1]) == 2
    machine.place_list(LIST2, [0, 1])
    other = machine.new_domain(2)
    while machine.alloc(other) is not None:
        pass
    result = machine.exchange(machine.reservation(2), machine.reservation(2, LIST2))
    assert result == (-abi.ENOMEM, 0)
    assert machine.domain.tot_pages == 2


@pytest.mark.parametrize(
    ("given", "wanted", "fields", "error"),
    [
        ({"count": 2}, {"count": 3}, {}, abi.EINVAL),
        ({"count": 2}, {"count": 2, "domid": 1}, {}, abi.EINVAL),
        ({"count": 2}, {"count": 2}, {"nr_exchanged": 3}, abi.EINVAL),
        ({"count": 1 << 60, "order": 5}, {"count": 1 << 60, "order": 5}, {}, abi.EINVAL),
        ({"count": 1, "order": 12}, {"count": 1, "order": 12}, {}, abi.EPERM),
        ({"count": 1, "domid": 9}, {"count": 1, "domid": 9}, {}, abi.ESRCH),
    ],
)
def test_exchange_errors(machine, given, wanted, fields, error):
    request = machine.reservation(**given), machine.reservation(**wanted)
    assert machine.exchange(*request, **fields)[0] == -error


def test_frames_have_their_numbers_before_they_are_the_domains():
    """From then on another vCPU may give them up, and the entry is somebody else's."""
    entered = []

    def enter(domain, mfn, count):
        machine.m2p.seek((mfn - 0x100) * 8)
        entered.append(machine.m2p.read(8 * count))
        for frame in map(machine.frame, range(mfn, mfn + count)):
            frame.info = 1 << 31 | 1  # allocated, for the exchange below
        return True

    machine = Machine(**{"kernel.frames.allocation.enter_frames": enter})
    assert machine.populate([10], order=1) == 1
    given = machine.guest.words(LIST, 1)
    machine.place_list(LIST, given)
    machine.place_list(LIST2, [40, 50])
    asked = machine.reservation(1, order=1), machine.reservation(2, LIST2)
    assert machine.exchange(*asked) == (0, 1)
    words = [int.from_bytes(found[:8], "little") for found in entered]
    assert sorted(words) == [10, 40, 50] and entered[0][8] == 11
