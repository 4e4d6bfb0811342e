"""Exceptions that strike the core itself: a breakpoint is forgotten, a page of a guest's LDT comes
by itself, and everything else that no fixup expects ends in a report.
"""

import abi
import pytest
from kpy import jit

from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu
from kernel.x86.percpu import Pcpu
from kernel.x86.perdomain import LDT_WINDOW_BYTES
from kernel.x86.vectors import TRAP_debug, TRAP_page_fault

DR6 = 0xFFFF0FF1
NOWHERE = 0x1234  # no instruction that may fault
TRAP_gp_fault = 13


class Fatal(Exception):
    """The core reports an exception of its own making."""


class Machine:
    """One processor, and a guest's vCPU that it runs; the guest has an LDT."""

    def __init__(self):
        self.program = p = jit.load(
            "kernel.entry.core_trap",
            also=["kernel.x86.perdomain"],
            replace={
                "kernel.x86.percpu.this_cpu": lambda: self.cpu,
                "kernel.x86.cpu.read_cr2": lambda: self.cr2,
                "kernel.x86.cpu.read_dr6": lambda: DR6,
                "kernel.x86.cpu.write_dr6": lambda value: self.written.append(value),
                "kernel.paging.segments.map_ldt_page": self.map_ldt_page,
                "kernel.entry.core_trap.fatal_exception": self.report,
            },
        )
        self.cpu, self.vcpu = p.new(Pcpu), p.new(Vcpu, domain=p.new(Domain), vcpu_id=1)

    def start_over(self):
        """Let the vCPU run, and nothing have happened."""
        self.cpu.current, self.cpu.dr6 = self.vcpu, 0
        self.cr2, self.written, self.mapped, self.has_page = 0, [], [], True

    def map_ldt_page(self, vcpu, offset):
        self.mapped.append(offset)
        return self.has_page

    def report(self, regs, vector):
        raise Fatal(vector)

    def window(self):
        """Where the guest's LDT is shown."""
        return self.program["kernel.x86.perdomain.ldt_window"](self.vcpu)

    def trap(self, vector, address=0):
        """Let an instruction of the core raise an exception."""
        self.cr2 = address
        self.program.trap_from_core(self.program.new(abi.cpu_user_regs, rip=NOWHERE), vector)


def test_a_breakpoint_is_noted_and_forgotten(machine):
    machine.trap(TRAP_debug)
    assert machine.cpu.dr6 == DR6 and machine.written == [0]


def test_a_page_of_the_ldt_comes_as_it_is_used(machine):
    for offset in (0, 8, LDT_WINDOW_BYTES - 1):
        machine.trap(TRAP_page_fault, machine.window() + offset)
        assert machine.mapped.pop() == offset


def test_an_ldt_without_that_page_is_reported(machine):
    machine.has_page = False
    with pytest.raises(Fatal):
        machine.trap(TRAP_page_fault, machine.window())


@pytest.mark.parametrize("offset", [-1, LDT_WINDOW_BYTES])
def test_faults_beside_the_window_are_reported(machine, offset):
    with pytest.raises(Fatal):
        machine.trap(TRAP_page_fault, machine.window() + offset)
    assert not machine.mapped


def test_without_a_guest_there_is_no_ldt(machine):
    address = machine.window()
    machine.cpu.current = None
    with pytest.raises(Fatal):
        machine.trap(TRAP_page_fault, address)
    assert not machine.mapped


def test_other_exceptions_are_reported(machine):
    with pytest.raises(Fatal):
        machine.trap(TRAP_gp_fault, machine.window())
    assert not machine.mapped
