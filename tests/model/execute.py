"""Guests of the model that execute single instructions: what the core makes of the fault that each
raises, and whether the guest's kernel hears of it.

    guest = Executor(machine, machine.guests[0])
    guest.privileged(b"\\x0f\\x06")  # clts, a #GP: "done", or the vector that its kernel got
"""

import abi

from tests.model.guest import BASE, PAGE, STACK, Stopped, make

# Names of the ABI, which Python would mangle inside a class.
SET_TRAP_TABLE, IRET = abi.__HYPERVISOR_set_trap_table, abi.__HYPERVISOR_iret
MMUEXT_OP = abi.__HYPERVISOR_mmuext_op
CODE_PAGE, DATA_PAGE = 20, 21
CODE, DATA = BASE + CODE_PAGE * PAGE, BASE + DATA_PAGE * PAGE
HANDLERS = 0x500000  # of vector n: HANDLERS + n * 16
UD, NM, GP, PF = 6, 7, 13, 14
ALL = range(32)
NOTHING_MAPPED = BASE + 300 * PAGE
FLAGS = 0x202


class Executor:
    """One guest, its trap handlers, and a page of code that user mode can run too."""

    def __init__(self, machine, guest, handlers=ALL):
        self.machine, self.guest = machine, guest
        self.v = guest.vcpu()
        self.set_handlers(handlers)

    def set_handlers(self, vectors):
        """Register a handler for each of some vectors."""
        for vector in vectors:
            fields = {"vector": vector, "cs": abi.FLAT_KERNEL_CS}
            entry = make(abi.trap_info, address=HANDLERS + 16 * vector, **fields)
            at = self.guest.put(bytes(entry) + bytes(16))
            assert self.guest.call(SET_TRAP_TABLE, at) == 0

    def enter_user_mode(self):
        """Go to user mode, by iret, with the kernel's page tables as the user's."""
        guest = self.guest
        op = guest.put(abi.mmuext_op, cmd=abi.MMUEXT_NEW_USER_BASEPTR, arg1={"mfn": guest.pages[0]})
        assert guest.call(MMUEXT_OP, op, 1, 0, abi.DOMID_SELF) == 0
        fields = {"rip": CODE, "cs": abi.FLAT_USER_CS64, "ss": abi.FLAT_USER_SS64}
        frame = make(abi.iret_context, rflags=FLAGS, rsp=STACK, **fields)
        self.v.regs.rsp = STACK - 512
        guest.write(STACK - 512, bytes(frame))
        try:
            guest.call(IRET)
        except Stopped:
            assert not self.v.kernel_mode
            return
        raise AssertionError("iret came back")

    def privileged(self, code, at=CODE, **registers):
        """Execute what raises #GP in ring 3; see `execute`."""
        return self.execute(code, GP, 0, at=at, **registers)

    def execute(self, code, vector, error_code, cr2=0, at=CODE, **registers):
        """Execute an instruction that raises an exception.

        Returns: "done" where the guest goes on behind it, "again" where it executes it once more,
        or the vector that its kernel gets.
        """
        if code:
            self.guest.write(at, code)
        regs = self.v.regs
        for name, value in registers.items():
            setattr(regs, name, value)
        regs.rip, regs.rsp = at, STACK
        assert self.machine["tests.model.drive.trap"](self.v, vector, error_code, cr2)
        return self.outcome(at, at + len(code))

    def outcome(self, start, end):
        """Return where the guest goes on, as `execute` says."""
        rip = self.v.regs.rip
        if rip == end:
            return "done"
        if rip == start:
            return "again"
        assert (rip - HANDLERS) % 16 == 0 and 0 <= rip - HANDLERS < 4096, f"goes on at {rip:#x}"
        assert self.v.kernel_mode
        return (rip - HANDLERS) // 16
