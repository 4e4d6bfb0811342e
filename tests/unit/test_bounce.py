"""Bounce frames, word by word, as the ABI lays them out for a 64-bit guest kernel."""

import abi
import pytest
from kpy import Array, jit

from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu
from tests.unit.guest import GuestMemory

STACK = 0xFFFF888000010000
HANDLER = 0xFFFFFFFF81234560
IF, TF, AC = 1 << 9, 1 << 8, 1 << 18


class Guest:
    """A vCPU with a stack, and what happened to it."""

    def __init__(self):
        self.memory = GuestMemory(STACK - 4096)
        self.crashes, self.toggles = [], 0
        self.program = jit.load(
            "kernel.entry.bounce",
            also=["kernel.emulate.softint"],
            replace={
                "kernel.base.guest_memory.copy_bytes_to_guest": self.memory.copy_to_guest,
                "kernel.x86.context.toggle_guest_mode": self.toggle,
                "kernel.state.domain.domain_crash": lambda domain, reason: self.crashes.append(
                    bytes(reason)
                ),
                "kernel.console.console.write_str": lambda text: None,
                "kernel.console.console.write_int": lambda value, negative, style: None,
                "kernel.console.console.end_line": lambda: None,
            },
        )
        self.vcpu = self.program.new(Vcpu, kernel_mode=True)
        self.vcpu.domain = self.program.new(Domain)
        self.vcpu.vcpu_info = self.program.new(abi.vcpu_info)
        self.vcpu.trap_table = self.program.new(Array[abi.trap_info, 256])
        regs = self.vcpu.regs
        regs.rip, regs.cs, regs.ss, regs.rsp = 0xFFFFFFFF81000042, 0xE033, 0xE02B, STACK - 0x78
        regs.rflags, regs.rcx, regs.r11 = 0x202 | TF | AC, 0x1111, 0x2222

    def toggle(self, vcpu):
        self.toggles += 1
        self.vcpu.kernel_mode = not self.vcpu.kernel_mode

    def set_handler(self, vector, flags=0):
        entry = self.vcpu.trap_table[vector]
        entry.address, entry.flags = HANDLER, flags


@pytest.fixture
def guest():
    return Guest()


def test_exception_from_kernel(guest):
    """Error code between r11 and rip, RPL 0 in cs, IF from the event mask, stack aligned to 16."""
    guest.set_handler(13)
    guest.program.deliver_trap(guest.vcpu, 13, 0x18)
    regs = guest.vcpu.regs
    assert regs.rsp == STACK - 0x80 - 64
    frame = guest.memory.words(regs.rsp, 8)
    assert frame == [
        0x1111,
        0x2222,
        0x18,
        0xFFFFFFFF81000042,
        0xE030,
        0x202 | TF | AC,
        STACK - 0x78,
        0xE02B,
    ]
    assert (regs.rip, regs.cs, regs.ss) == (HANDLER, 0xE033, 0xE02B)
    assert regs.rflags == 0x202
    assert (regs.rcx, regs.r11) == (HANDLER, 0x202)
    assert guest.toggles == 0


def test_exception_from_user(guest):
    """The frame goes to the registered kernel stack, and cs keeps its RPL."""
    guest.set_handler(6)
    guest.vcpu.kernel_mode = False
    guest.vcpu.kernel_sp = STACK
    guest.vcpu.regs.cs, guest.vcpu.regs.rsp = 0x33, 0x7FFF0000
    guest.program.deliver_trap(guest.vcpu, 6, 0)
    assert guest.toggles == 1
    assert guest.vcpu.regs.rsp == STACK - 56
    assert guest.memory.words(STACK - 56, 7)[3:] == [0x33, 0x202 | TF | AC, 0x7FFF0000, 0xE02B]


@pytest.mark.parametrize("masked", [0, 1])
def test_event_mask(guest, masked):
    """The saved mask is in bits 32-39 of the cs word and, inverted, in IF; TI bit 2 masks."""
    guest.set_handler(6, flags=4)
    guest.vcpu.vcpu_info.evtchn_upcall_mask = masked
    guest.program.deliver_trap(guest.vcpu, 6, 0)
    frame = guest.memory.words(guest.vcpu.regs.rsp, 7)
    assert frame[3] == 0xE030 | masked << 32
    assert bool(frame[4] & IF) == (not masked)
    assert guest.vcpu.vcpu_info.evtchn_upcall_mask == 1


def test_page_fault(guest):
    """cr2 goes to vcpu_info; the user bit tells the guest's own modes apart, both of which are ring
    3.
    """
    guest.set_handler(14)
    guest.program.deliver_page_fault(guest.vcpu, 0xDEAD000, 0b111)
    assert guest.vcpu.vcpu_info.arch.cr2 == 0xDEAD000
    assert guest.memory.words(guest.vcpu.regs.rsp, 3)[2] == 0b011


def test_upcall(guest):
    """An event calls the event callback, masked."""
    guest.vcpu.event_callback_eip = HANDLER
    guest.program.deliver_event_upcall(guest.vcpu)
    assert guest.vcpu.regs.rip == HANDLER
    assert guest.vcpu.vcpu_info.evtchn_upcall_mask == 1


def test_no_handler(guest):
    """An exception without a handler ends the domain, and changes no memory."""
    guest.program.deliver_trap(guest.vcpu, 6, 0)
    assert len(guest.crashes) == 1
    assert not any(guest.memory.bytes)


def test_no_stack(guest):
    """So does a stack that can't be written."""
    guest.set_handler(6)
    guest.vcpu.regs.rsp = 0x10
    guest.program.deliver_trap(guest.vcpu, 6, 0)
    assert len(guest.crashes) == 1


@pytest.mark.parametrize(("flags", "gets"), [(3, 0x80), (0, 13)])
def test_int80_from_user(guest, flags, gets):
    """It goes to its handler, or is a #GP where the kernel has none that user mode may call."""
    guest.set_handler(gets, flags)
    guest.vcpu.kernel_mode = False
    guest.vcpu.kernel_sp = STACK
    rip = guest.vcpu.regs.rip
    guest.program["kernel.emulate.softint.deliver_int80"](guest.vcpu)
    assert guest.crashes == [] and guest.vcpu.regs.rip == HANDLER
    frame = guest.memory.words(guest.vcpu.regs.rsp, 4)
    assert frame[2:] == ([rip, 0xE033] if gets == 0x80 else [0x80 << 3 | 2, rip - 2])
