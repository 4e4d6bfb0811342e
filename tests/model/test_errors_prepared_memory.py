"""Refusals about memory that the tables by hypercall don't reach with one call.

Something must have been done before, or the refusing part is far down.
"""

import abi
import pytest

from tests.model.codes import EFAULT, EINVAL, EPERM
from tests.model.errors import (
    UNMAPPED,
    ReadOnly,
    Wrong,
    check,
    expect_unchanged,
    guest,
    own_frame,
    picture,
)
from tests.model.guest import BASE, DATA, FIRST_DATA_PAGE, PAGE, PRESENT, USER, make
from tests.model.prepared import EVENT_OP, MULTICALL, UPDATE_VA, at_end_of_memory, unmapped
from tests.model.test_errors_domctl import LIST
from tests.model.test_errors_memory import (
    LATER,
    SELF,
    acquire,
    exchange,
    increase,
    listed,
    op,
    with_map,
)
from tests.model.test_errors_memory import LIST as FRAMES


def page_for_reading(machine):
    """Let the caller have unmapped page 20, and page 15 be a list that it cannot write to."""
    unmapped(20)(machine)
    entry = guest(machine).pages[15] << 12 | PRESENT | USER
    assert guest(machine).call(UPDATE_VA, BASE + 15 * PAGE, entry, abi.UVMF_INVLPG) == 0


OWN = listed(own_frame(20))
MEMORY = [
    Wrong(
        "exchange: of too large", exchange((FRAMES, 1, 10, SELF), (FRAMES, 1024, 0, SELF)), EPERM
    ),
    Wrong(
        "exchange: for another domain",
        exchange((OWN, 1, 0, SELF), (FRAMES, 1, 0, 2)),
        EINVAL,
        first=unmapped(20),
    ),
    Wrong(
        "exchange: one for two",
        exchange((OWN, 1, 0, SELF), (FRAMES, 2, 0, SELF)),
        EINVAL,
        first=unmapped(20),
    ),
    Wrong(
        "exchange: nowhere to tell the new frame",
        exchange((OWN, 1, 0, SELF), (UNMAPPED, 1, 0, SELF)),
        EFAULT,
        first=unmapped(20),
        leaves_trace=True,
    ),
    Wrong(
        "exchange: a list that is read-only for the new frame",
        exchange((OWN, 1, 0, SELF), (BASE + 15 * PAGE, 1, 0, SELF)),
        EFAULT,
        first=page_for_reading,
        leaves_trace=True,
    ),
    Wrong(
        "exchange: nowhere to tell the progress",
        (
            abi.__HYPERVISOR_memory_op,
            abi.XENMEM_exchange,
            ReadOnly(
                abi.xen_memory_exchange,
                {"in_": {"domid": SELF}, "out": {"domid": SELF}},
            ),
        ),
        EFAULT,
        leaves_trace=True,
    ),
    Wrong(
        "exchange: lists longer than memory",
        exchange((FRAMES, 1 << 62, 0, SELF), (FRAMES, 1 << 62, 0, SELF)),
        EFAULT,
    ),
    *(
        Wrong(
            f"memory {command}: read-only",
            (abi.__HYPERVISOR_memory_op, command, ReadOnly(type_, fields)),
            EFAULT,
            by,
            first,
            leaves_trace=True,
        )
        for command, type_, fields, by, first in (
            (abi.XENMEM_machine_memory_map, abi.xen_memory_map, {}, "dom0", None),
            (
                abi.XENMEM_memory_map,
                abi.xen_memory_map,
                {"nr_entries": 9, "buffer": LIST},
                "guest",
                with_map,
            ),
            (abi.XENMEM_machphys_mfn_list, abi.xen_machphys_mfn_list, {}, "guest", None),
            (
                abi.XENMEM_acquire_resource,
                abi.xen_mem_acquire_resource,
                {"domid": 1, "type": abi.XENMEM_resource_grant_table},
                "dom0",
                None,
            ),
        )
    ),
    Wrong("increase: within 1 MiB", increase(mem_flags=20), 0),
    Wrong("acquire: status frames", acquire(id=1, nr_frames=1, frame_list=LIST), EINVAL, "dom0"),
    Wrong(
        "acquire: the size, from the middle",
        op(
            abi.XENMEM_acquire_resource | LATER,
            abi.xen_mem_acquire_resource,
            domid=1,
            type=abi.XENMEM_resource_grant_table,
        ),
        EINVAL,
        "dom0",
    ),
]


@pytest.mark.parametrize("row", MEMORY, ids=str)
def test_refused(machine, row):
    check(machine, row)


def test_frames_need_no_list(machine):
    """XENMEM_increase_reservation tells the frames only if it is told where."""
    guest(machine).domain.max_pages += 1
    fields = {"nr_extents": 1, "domid": SELF, "extent_start": 0}
    at = guest(machine).put(abi.xen_memory_reservation, **fields)
    call = (abi.__HYPERVISOR_memory_op, abi.XENMEM_increase_reservation, at)
    assert guest(machine).call(*call) == 1


def test_a_list_that_ends_early_is_done_up_to_there(machine):
    """What could not be read is not what was read before."""
    bind = guest(machine).put(abi.evtchn_bind_ipi, vcpu=0)
    entry = make(abi.multicall_entry, op=EVENT_OP)
    entry.args[0], entry.args[1] = abi.EVTCHNOP_bind_ipi, bind
    at = at_end_of_memory(machine, bytes(entry))
    before = guest(machine).domain.evtchn.nr_active
    assert guest(machine).call(MULTICALL, at, 2) == EFAULT
    assert guest(machine).domain.evtchn.nr_active == before + 1


def test_a_list_that_cannot_take_its_progress(machine):
    """An entry that stops half way is written back; where that fails the list ends."""
    who = guest(machine)
    flush = bytes(make(abi.mmuext_op, cmd=abi.MMUEXT_TLB_FLUSH_LOCAL))
    entry = make(abi.multicall_entry, op=abi.__HYPERVISOR_mmuext_op)
    entry.args[0], entry.args[1], entry.args[3] = who.put(flush * 3), 3, SELF
    who.write(DATA, bytes(entry))
    value = who.pages[FIRST_DATA_PAGE] << 12 | PRESENT | USER
    assert who.call(UPDATE_VA, DATA, value, abi.UVMF_INVLPG) == 0
    repeats = machine["tests.model.processors.nr_repeats"]
    before = repeats.value
    machine.preempt((1 << 64) - 1)
    assert who.call(MULTICALL, DATA, 1) == EFAULT
    assert repeats.value == before, "it does not begin again for ever"


def test_a_frame_that_cannot_be_read_is_not_the_one_before(machine):
    """The list of frames to give up ends with one, which the caller gets again."""
    unmapped(20)(machine)
    who = guest(machine)
    frame = who.pages[20].to_bytes(8, "little")
    at = at_end_of_memory(machine, frame)
    request = {"extent_start": at, "nr_extents": 2, "domid": SELF}
    op_at = who.put(abi.xen_memory_reservation, **request)
    number, command = abi.__HYPERVISOR_memory_op, abi.XENMEM_decrease_reservation
    assert who.call(number, command, op_at) == 1
    expected = who.domain.tot_pages
    request["extent_start"] = UNMAPPED
    op_at = who.put(abi.xen_memory_reservation, **request)
    assert who.call(number, command, op_at) == 0
    assert who.domain.tot_pages == expected


def test_a_frame_of_which_half_can_be_read_is_none(machine):
    """The rest of its number would be zeros."""
    unmapped(20)(machine)
    who = guest(machine)
    at = at_end_of_memory(machine, who.pages[20].to_bytes(4, "little"))
    op_at = who.put(abi.xen_memory_reservation, extent_start=at, nr_extents=1, domid=SELF)
    before = picture(machine)
    command = abi.XENMEM_decrease_reservation
    assert who.call(abi.__HYPERVISOR_memory_op, command, op_at) == 0
    expect_unchanged(machine, before)
