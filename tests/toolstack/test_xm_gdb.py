"""`xm gdb` with Debian's gdb, against xend in this process: the guest traps when the test says."""

import asyncio

from tests.host_tools import needs
from tests.toolstack import fake_debug, tiny_guest
from tests.toolstack.test_xm import write_cfg, xm
from tests.toolstack.xend_in_process import until, with_xend

BP = 3

pytestmark = needs("gdb")


def batch(*commands):
    """Return gdb's arguments for running some commands."""
    return ["--", "-batch", *(word for command in commands for word in ("-ex", command))]


@with_xend
async def test_gdb_sees_registers_and_symbols(xend):
    (xend.folder / "kernel.elf").write_bytes(tiny_guest.link(tiny_guest.CRASH_PARTS))
    await xend.create()
    commands = ["info registers rip eflags fs_base cs mxcsr", "info threads", "x/i outer"]
    commands += ["print $xmm0.uint128", "print/x *(char *)0", "set var $rax = 7", "print $rax"]
    code, out, err = await xm(xend, "gdb", "guest", *batch(*commands))
    assert code == 0, err
    assert f"{tiny_guest.CODE:#x} <_start>" in out and "eflags" in out
    assert '* 1    Thread 1 "vCPU 0"' in out and "<outer>:" in out and "push   %rbp" in out
    assert "Cannot access memory at address 0x0" in err and "$1 = 0" in out and "= 7" in out
    domain = xend.xen.domains[1]
    await until(lambda: not domain.debugging.attached)
    assert domain.pauses == 0, "gdb is gone and the domain goes on"


@with_xend
async def test_gdb_stops_at_a_breakpoint(xend):
    (xend.folder / "kernel.elf").write_bytes(tiny_guest.link(tiny_guest.CRASH_PARTS))
    await xend.create(paused=True)
    domain = xend.xen.domains[1]
    commands = ["break inner", "continue", "info breakpoints", "detach"]
    running = asyncio.ensure_future(xm(xend, "gdb", "guest", *batch(*commands)))
    await until(lambda: domain.debugging.attached and not domain.pauses)
    page = fake_debug.find(xend.xen, domain, tiny_guest.CODE)
    place = tiny_guest.CODE + bytes(page[:64]).index(0xCC)
    domain.contexts[0].user_regs.rip = place + 1
    fake_debug.trap(xend.xen, 1, 0, BP)
    code, out, err = await running
    assert code == 0, err
    assert "Breakpoint 1, 0x" in out and "in inner ()" in out
    assert "breakpoint already hit 1 time" in out and "detached" in out
    assert 0xCC not in bytes(page[:64]) and domain.pauses == 0


@with_xend
async def test_create_stops_at_the_first_instruction(xend):
    cfg = write_cfg(xend, tiny_guest.build(tiny_guest.SPIN))
    code, out, err = await xm(xend, "create", "-g", cfg, stdin=b"info registers rip\nquit\n")
    assert code == 0 and "<_start>" in out, err
    await until(lambda: not xend.xen.domains[1].pauses)


@with_xend
async def test_what_gdb_cannot_have_is_one_sentence(xend):
    await xend.create()
    code, _, err = await xm(xend, "gdb", "gest")
    assert code == 1 and "Did you mean 'guest'" in err and err.count("\n") == 1
    code, _, err = await xm(xend, "gdb", "-s", "/no/vmlinux", "guest")
    assert code == 1 and "no file '/no/vmlinux'" in err and err.count("\n") == 1
    async with xend.client.ws_connect("/api/v1/domains/guest/debugger"):
        code, _, err = await xm(xend, "gdb", "guest")
    assert code == 1 and "A debugger holds the domain" in err and err.count("\n") == 1
