"""The debugger's domctls over real page tables, and the traps that stop a domain for it."""

import abi
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kpy import jit

from kernel.control.debug import MOST_BYTES, NO_VCPU
from kernel.control.domctl import FIRST_GDBSX, NR_DOMCTLS, NR_SLOTS, slot_of
from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu
from tests.unit.guest import GuestMemory
from tests.unit.memory_machine import PAGE, MemoryMachine

BUFFER = 0x7F0000000000
PRESENT, READ_ONLY, READ_WRITE = 1, 5, 7
TEXT, DATA, TABLE, FOREIGN, DEVICE, HOLE, USER = (0x40000000 + n * PAGE for n in range(7))
TF = 1 << 8
BIGGEST_FRAME = (1 << 40) - 1


class Machine(MemoryMachine):
    """Domain 0 with a buffer, and domain 1 with page tables, two vCPUs and its memory."""

    def __init__(self):
        self.buffer = GuestMemory(BUFFER, 2 * MOST_BYTES)
        self.woken, self.sleeping = [], []
        super().__init__(
            "kernel.control.debug",
            also=[
                "kernel.frames.allocation",
                "kernel.frames.frame",
                "kernel.frames.page_type",
                "kernel.frames.heap",
            ],
            replace={
                "kernel.base.guest_memory.copy_bytes_from_guest": self.buffer.copy_from_guest,
                "kernel.base.guest_memory.copy_bytes_to_guest": self.buffer.copy_to_guest,
                "kernel.sched.wake.vcpu_sleep_sync": lambda v: self.sleeping.append(v.vcpu_id),
                "kernel.sched.wake.vcpu_wake": lambda v: self.woken.append(v.vcpu_id),
            },
        )

    def start_over(self):
        super().start_over()
        self.caller = self.program.new(Vcpu, domain=self.new_domain(0))
        self.domain, self.other = self.new_domain(1), self.new_domain(2)
        self.domain.max_vcpus = 2
        for number in range(2):
            self.domain.vcpus[number] = self.program.new(Vcpu, vcpu_id=number, domain=self.domain)
        self.build_tables()
        self.buffer.bytes[:] = bytes(len(self.buffer.bytes))
        self.woken.clear()
        self.sleeping.clear()

    def build_tables(self):
        """Map the pages named above; the one at USER only in the table of user mode."""
        l4, l3, l2, l1, self.text_mfn, self.data_mfn = (self.alloc(self.domain) for _ in range(6))
        user4, user3, user2, user1, self.user_mfn = (self.alloc(self.domain) for _ in range(5))
        foreign = self.foreign_mfn = self.alloc(self.other)
        self.table_mfn = l1
        for table, index, entry in (
            (l4, 0, l3),
            (l3, 1, l2),
            (l2, 0, l1),
            (user4, 0, user3),
            (user3, 2, user2),
            (user2, 0, user1),
        ):
            self.set_entry(table, index, entry << 12 | READ_WRITE)
        entries = [
            self.text_mfn << 12 | READ_ONLY,
            self.data_mfn << 12 | READ_WRITE,
            l1 << 12 | READ_ONLY,
            foreign << 12 | READ_ONLY,
            BIGGEST_FRAME << 12 | READ_WRITE,
            0,
        ]
        for index, entry in enumerate(entries):
            self.set_entry(l1, index, entry)
        self.set_entry(user1, 0, self.user_mfn << 12 | READ_WRITE)
        self.frame(l1).info |= 1 << 61 | 1 << 59 | 1 << 32  # a validated L1 table, in use
        self.domain.vcpus[0].guest_table = l4
        self.domain.vcpus[0].guest_table_user = user4

    def call(self, name, **fields):
        """Run one operation; returns its result and the argument."""
        op = self.program.new(abi.xen_domctl)
        argument = getattr(op.u, fields.pop("argument", name))
        for field, value in fields.items():
            setattr(argument, field, value)
        result = self[f"kernel.control.debug.domctl_{name}.entry"](self.caller, self.domain, op)
        return result, argument

    def access(self, address, length, write=False, **changes):
        """Read or write the guest's memory; returns the result and the bytes left over."""
        fields = {"gva": address, "uva": BUFFER, "len": length, "gwr": int(write), **changes}
        result, io = self.call("gdbsx_guestmemio", argument="gdbsx_guest_memio", **fields)
        return result, io.remain

    def counts_of_all(self):
        return [self.counts(mfn) for mfn in range(0x100, 0x120)]


def test_memory_is_read_and_written_across_pages(machine):
    machine.write(machine.text_mfn, PAGE - 3, b"abc")
    machine.write(machine.data_mfn, 0, b"defg")
    assert machine.access(TEXT + PAGE - 3, 6) == (0, 0)
    assert bytes(machine.buffer.bytes[:6]) == b"abcdef"
    machine.buffer.bytes[:4] = b"WXYZ"
    assert machine.access(TEXT + PAGE - 2, 4, write=True) == (0, 0), "read-only text as well"
    assert machine.text(machine.text_mfn)[-2:] == b"WX"
    assert machine.text(machine.data_mfn)[:2] == b"YZ"


def test_user_memory_is_found_too(machine):
    machine.write(machine.user_mfn, 0, b"user")
    assert machine.access(0x80000000, 4) == (0, 0)
    assert bytes(machine.buffer.bytes[:4]) == b"user"


@pytest.mark.parametrize(
    ("address", "write"),
    [
        (TABLE, True),
        (FOREIGN, False),
        (FOREIGN, True),
        (DEVICE, False),
        (DEVICE, True),
        (HOLE, False),
        (0, False),
        ((1 << 64) - 1, False),
        (1 << 47, False),
        (0xFFFF800000000000, False),
        (0xFFFF82D040200000, True),
    ],
)
def test_what_is_not_the_guests_is_refused(machine, address, write):
    before = machine.counts_of_all()
    assert machine.access(address, 8, write) == (-abi.EFAULT, 8)
    assert machine.counts_of_all() == before


def test_page_tables_can_be_read(machine):
    assert machine.access(TABLE, 8) == (0, 0)
    assert int.from_bytes(machine.buffer.bytes[:8], "little") >> 12 == machine.text_mfn


def test_a_bad_buffer_costs_no_reference(machine):
    before = machine.counts_of_all()
    assert machine.access(DATA, 8, uva=0x1000) == (-abi.EFAULT, 8)
    assert machine.access(DATA, 8, write=True, uva=(1 << 64) - 4) == (-abi.EFAULT, 8)
    assert machine.counts_of_all() == before


def test_limits_of_memory_access(machine):
    assert machine.access(DATA, MOST_BYTES + 1)[0] == -abi.E2BIG
    assert machine.access(DATA, 8, pgd3val=1)[0] == -abi.EOPNOTSUPP
    assert machine.access(DATA, 0) == (0, 0)
    assert machine.access(DATA, 3 * PAGE) == (-abi.EFAULT, PAGE), "stops before the foreign page"
    machine.domain.is_dying = 1
    assert machine.access(DATA, 8)[0] == -abi.EFAULT
    machine.caller.domain = machine.domain
    assert machine.access(DATA, 8)[0] == -abi.EINVAL


@given(
    address=st.one_of(
        st.integers(0, (1 << 64) - 1), st.integers(TEXT - 8, USER + PAGE), st.integers(0, 64)
    ),
    length=st.integers(0, (1 << 32) - 1) | st.integers(0, 3 * PAGE),
    write=st.booleans(),
    buffer=st.integers(0, (1 << 64) - 1) | st.just(BUFFER),
)
def test_no_argument_harms(compiled, address, length, write, buffer):
    """Whatever is asked for: no panic, counts as before, no frame of others changed."""
    compiled.start_over()
    before = compiled.counts_of_all()
    protected = [compiled.text(mfn) for mfn in (compiled.foreign_mfn, compiled.table_mfn)]
    result, remain = compiled.access(address, length, write, uva=buffer)
    assert result in (0, -abi.EFAULT, -abi.E2BIG) and (result == 0) == (remain == 0)
    assert compiled.counts_of_all() == before
    after = [compiled.text(mfn) for mfn in (compiled.foreign_mfn, compiled.table_mfn)]
    assert after == protected
    assert compiled.domain.pause_count == 0


def test_single_step_sets_the_trap_flag(machine):
    regs = machine.domain.vcpus[1].regs
    assert machine.call("debug_op", op=abi.XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_ON, vcpu=1)[0] == 0
    assert regs.rflags & TF and machine.sleeping == [1] and machine.woken == [1]
    assert machine.domain.vcpus[1].is_single_stepped
    assert machine.call("debug_op", op=abi.XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_OFF, vcpu=1)[0] == 0
    assert not regs.rflags & TF and not machine.domain.vcpus[1].is_single_stepped
    assert machine.call("debug_op", op=2, vcpu=1)[0] == -abi.EINVAL
    for vcpu in (2, 31, 32, NO_VCPU):
        assert machine.call("debug_op", op=0, vcpu=vcpu)[0] == -abi.EINVAL
    assert machine.domain.vcpus[1].pause_count == 0


def test_one_vcpu_of_a_paused_domain(machine):
    pause = {"name": "gdbsx_pausevcpu", "argument": "gdbsx_pauseunp_vcpu"}
    unpause = {"name": "gdbsx_unpausevcpu", "argument": "gdbsx_pauseunp_vcpu"}
    assert machine.call(**pause, vcpu=1)[0] == -abi.EBUSY
    assert machine.call(**unpause, vcpu=1)[0] == -abi.EBUSY
    machine.domain.controller_pause_count = 1
    assert machine.call(**unpause, vcpu=1)[0] == -abi.EINVAL
    assert machine.call(**pause, vcpu=1)[0] == 0
    assert [machine.domain.vcpus[i].pause_count for i in range(2)] == [0, 1]
    assert machine.call(**pause, vcpu=2)[0] == -abi.EINVAL
    assert machine.call(**unpause, vcpu=1)[0] == 0
    assert machine.domain.vcpus[1].pause_count == 0 and machine.woken == [1]
    machine.domain.vcpus[1].controller_pause_count = 255
    assert machine.call(**pause, vcpu=1)[0] == -abi.EOVERFLOW


def test_status_tells_each_trap_once(machine):
    machine.domain.vcpus[1].debugger_event = 3
    result, status = machine.call("gdbsx_domstatus")
    assert (result, status.paused, status.vcpu_id) == (0, 0, NO_VCPU)
    machine.domain.controller_pause_count = 1
    _, status = machine.call("gdbsx_domstatus")
    assert (status.paused, status.vcpu_id, status.vcpu_ev) == (1, 1, 3)
    _, status = machine.call("gdbsx_domstatus")
    assert (status.paused, status.vcpu_id) == (1, NO_VCPU)


def test_setdebugging(machine):
    assert machine.call("setdebugging", enable=1)[0] == 0
    assert machine.domain.debugger_attached
    assert machine.call("setdebugging", enable=0)[0] == 0
    assert not machine.domain.debugger_attached
    machine.caller.domain = machine.domain
    assert machine.call("setdebugging", enable=1)[0] == -abi.EINVAL


def test_the_debuggers_numbers_have_slots():
    gdbsx = [slot_of(FIRST_GDBSX + n) for n in range(4)]
    assert gdbsx == list(range(NR_DOMCTLS, NR_SLOTS))
    for cmd in (NR_DOMCTLS, FIRST_GDBSX - 1, FIRST_GDBSX + 4, NO_VCPU):
        assert slot_of(cmd) == NR_SLOTS


@pytest.fixture
def trapped():
    """A vCPU of a debugged domain in a trap; VIRQs and sleepers go to a list."""
    seen = []
    program = jit.load(
        "kernel.panic.debugger",
        replace={
            "kernel.evtchn.virq.send_global_virq": lambda virq: seen.append(("virq", virq)),
            "kernel.sched.wake.vcpu_sleep_nosync": lambda v: seen.append(("sleep", v.vcpu_id)),
        },
    )
    domain = program.new(Domain, max_vcpus=2, debugger_attached=True)
    for number in range(2):
        domain.vcpus[number] = program.new(Vcpu, vcpu_id=number, domain=domain, kernel_mode=True)
    return program, domain, seen


def test_which_traps_are_the_debuggers(trapped):
    program, domain, _ = trapped
    v = domain.vcpus[0]
    assert [n for n in range(33) if program.is_for_debugger(v, n)] == [1, 3]
    v.kernel_mode = False
    assert [n for n in range(33) if program.is_for_debugger(v, n)] == []
    v.is_single_stepped = True
    assert [n for n in range(33) if program.is_for_debugger(v, n)] == [1]
    v.kernel_mode, domain.debugger_attached = True, False
    assert not program.is_for_debugger(v, 3)


def test_a_trap_pauses_the_whole_domain(trapped):
    program, domain, seen = trapped
    assert program.stop_for_debugger(domain.vcpus[1], 3)
    assert seen == [("sleep", 0), ("sleep", 1), ("virq", abi.VIRQ_DEBUGGER)]
    assert (domain.pause_count, domain.controller_pause_count) == (1, 1)
    assert domain.vcpus[1].debugger_event == 3
    domain.controller_pause_count = 255
    assert not program.stop_for_debugger(domain.vcpus[1], 3), "the guest gets its exception"
    assert domain.pause_count == 1


@pytest.fixture
def stepped():
    """A vCPU with its trap flag set, at an instruction that the core emulates."""
    seen = []
    program = jit.load(
        "kernel.entry.step",
        replace={
            "kernel.entry.bounce.deliver_trap": lambda v, vector, code: seen.append(
                ("guest", vector)
            ),
            "kernel.panic.debugger.stop_for_debugger": lambda v, vector: (
                seen.append(("gdb", vector)) or True
            ),
        },
    )
    v = program.new(Vcpu, domain=program.new(Domain), kernel_mode=True)
    v.regs.rip, v.regs.rflags = 0x1000, TF
    return program, v, seen


def test_the_step_over_an_emulated_instruction(stepped):
    """It ends at the debugger if there is one, else with the guest's own #DB."""
    program, v, seen = stepped
    program.step_over(v, 2)
    v.domain.debugger_attached = True
    program.step_over(v, 3)
    assert seen == [("guest", 1), ("gdb", 1)]
    assert v.regs.rip == 0x1005 and v.debugreg[6] & 1 << 14
    v.regs.rflags = 1 << 16
    program.step_over(v, 1)
    assert len(seen) == 2 and v.regs.rflags == 0, "no step: only RF goes"
