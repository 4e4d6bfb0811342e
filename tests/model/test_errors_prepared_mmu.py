"""Refusals about page tables that the tables by hypercall don't reach with one call.

Something must have been done before, or the refusing part is far down.
"""

import abi
import pytest

from tests.model import invariants
from tests.model.codes import EBUSY, EFAULT, EINVAL, ENOSYS
from tests.model.errors import CORE, UNMAPPED, Wrong, check, foreign_frame, guest, other, own_frame
from tests.model.guest import BASE, DATA, FIRST_DATA_PAGE, PAGE, PRESENT, USER
from tests.model.memory import FIRST
from tests.model.prepared import UPDATE_VA, dom0, many_references, with_rings
from tests.model.test_errors_domctl import control
from tests.model.test_errors_memory import SELF
from tests.model.test_errors_mmu import IO, L1, XEN, given_up, map_va, mmuext, slot, update


def ring_frame(machine):
    """Return a frame of the trace rings: DOMID_XEN's."""
    at = machine["kernel.control.trace_buffer.t_info"].value
    return (at - machine.memory.frames) // PAGE + FIRST


def with_core_tables(machine):
    """Let the core have mapped something in its own slots, as on the machine."""
    l3, l2, l1 = (FIRST + n for n in (262 - 255, 17, 18))
    machine.memory.page(l3)[0] = l2 << 12 | 0x63
    machine.memory.page(l2)[0] = l1 << 12 | 0x63
    machine.memory.page(l1)[0] = FIRST << 12 | 0x63


def of_io(cmd, at=None):
    if at:
        return (abi.__HYPERVISOR_mmuext_op, at, 1, 0, IO)
    return mmuext(cmd, IO)


TABLES = [
    Wrong(
        "L1: no more references",
        update(slot(L1, 8 * 400), lambda m: own_frame(FIRST_DATA_PAGE)(m) << 12 | 5),
        EBUSY,
        first=many_references,
    ),
    Wrong(
        "L1: no more references to write by",
        update(slot(L1, 8 * 400), lambda m: own_frame(FIRST_DATA_PAGE)(m) << 12 | 7),
        EBUSY,
        first=many_references,
    ),
    dom0(
        "L1: a free frame, which was its own",
        update(lambda m: (m.dom0.pages[L1] << 12) + 8 * 400, lambda m: m.free_frame << 12 | 7),
        EBUSY,
        given_up,
    ),
    Wrong("va: no L1", map_va(BASE + (1 << 21), 0), EINVAL),
    Wrong("va: in the core's tables", map_va(CORE, 0), EINVAL, first=with_core_tables),
    Wrong(
        "va: processors that cannot be read",
        map_va(DATA, 0, UNMAPPED | abi.UVMF_TLB_FLUSH),
        EFAULT,
        leaves_trace=True,
    ),
    dom0(
        "L1: another's frame as one's own",
        update(
            lambda m: (m.dom0.pages[L1] << 12) + 8 * 400,
            lambda m: foreign_frame(FIRST_DATA_PAGE)(m) << 12 | 5,
        ),
        EBUSY,
    ),
    dom0(
        "L1: domain 0's frame as an unprivileged domain's",
        update(
            lambda m: (guest(m).pages[L1] << 12) + 8 * 400,
            lambda m: m.dom0.pages[FIRST_DATA_PAGE] << 12 | 5,
            2 | 1 + 1 << 16,
        ),
        EBUSY,
    ),
    dom0(
        "L1: the core's frame, handed on by domain 0",
        update(
            lambda m: (guest(m).pages[L1] << 12) + 8 * 400,
            lambda m: ring_frame(m) << 12 | 5,
            SELF | 1 + 1 << 16,
        ),
        EBUSY,
        with_rings,
    ),
    dom0(
        "console: from the core",
        (abi.__HYPERVISOR_console_io, abi.CONSOLEIO_write, 8, CORE),
        EFAULT,
        with_core_tables,
    ),
    dom0(
        "memory: to the core",
        control(
            abi.XEN_DOMCTL_gdbsx_guestmemio,
            gdbsx_guest_memio={"gva": BASE, "uva": CORE, "len": 8},
        ),
        EFAULT,
        with_core_tables,
        True,
    ),
    dom0("ext of I/O: unmapped", of_io(0, UNMAPPED), EFAULT),
    dom0("ext of I/O: no such operation", of_io(99), ENOSYS),
    dom0("ext of I/O: the unused one", of_io(14), ENOSYS),
    dom0(
        "L1: another's frame as the core's",
        update(
            lambda m: (m.dom0.pages[L1] << 12) + 8 * 400,
            lambda m: foreign_frame(FIRST_DATA_PAGE)(m) << 12 | 5,
            XEN,
        ),
        EBUSY,
    ),
]


@pytest.mark.parametrize("row", TABLES, ids=str)
def test_refused(machine, row):
    check(machine, row)


def test_domain_0_hands_its_right_on(machine):
    """It maps its neighbour's page into the caller's memory, but nothing of the core's."""
    caller, neighbour = guest(machine), other(machine)
    entry = (caller.pages[L1] << 12) + 8 * 400
    by_dom0 = SELF | caller.id + 1 << 16  # tables of the caller, frames as domain 0's
    mfn = neighbour.pages[FIRST_DATA_PAGE]
    for frame, result in {mfn: 0, FIRST + 1: EBUSY}.items():
        call = update(entry, frame << 12 | PRESENT | USER, by_dom0)
        at = machine.dom0.put(abi.mmu_update, **call[1].fields)
        assert machine.dom0.call(call[0], at, *call[2:]) == result
    invariants.check(machine, {(caller.id, mfn)})


def test_device_memory_is_made_writable_and_read_only_again(machine):
    """The entry changes in one bit, but there is no frame to count."""
    machine["kernel.x86.features.max_physical_bits"].value = 46
    at = BASE + 25 * PAGE
    for flags in (5, 7, 5):
        call = (UPDATE_VA, at, 0xFED00 << 12 | flags, abi.UVMF_INVLPG)
        assert machine.dom0.call(*call) == 0
        assert machine.memory.page(machine.dom0.pages[L1])[25] & 7 == flags
