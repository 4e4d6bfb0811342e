"""A debugger of a domain, without gdb: a scripted client speaks its protocol with xend."""

import asyncio
import ctypes
import errno
import struct
from pathlib import Path

import pytest
import xen_codecs as abi
from hypothesis import given
from hypothesis import strategies as st
from xend import gdbstub_registers as registers
from xend.gdbstub_packets import INTERRUPT, Packets, encode
from xend.gdbstub_target import EVENT_shutdown
from xend.gdbstub_watch import Watchpoints

from tests.toolstack import fake_debug, tiny_guest
from tests.toolstack.xend_in_process import until, with_xend
from tools.setup.patience import PATIENCE_S

DB, BP = 1, 3
TF = 1 << 8
PLACE = tiny_guest.CODE


class Gdb:
    """A debugger's end of the WebSocket."""

    def __init__(self, socket):
        self.socket, self.packets, self.waiting = socket, Packets(), []

    async def send(self, request):
        await self.socket.send_bytes(encode(request))

    async def answer(self):
        """Return the next packet from the stub."""
        while not self.waiting:
            message = await asyncio.wait_for(self.socket.receive(), PATIENCE_S)
            self.waiting += self.packets.feed(message.data)[0]
        return self.waiting.pop(0).decode("latin-1")

    async def ask(self, request):
        await self.send(request)
        return await self.answer()

    async def all(self, name):
        """Fetch a document by qXfer, in pieces."""
        text = ""
        while True:
            part = await self.ask(f"qXfer:{name}:{len(text):x},100")
            text += part[1:]
            if part[0] == "l":
                return text


async def debug(xend, name="guest", **config):
    """Create a domain and attach a debugger to it."""
    domain = await xend.create(name, **config)
    socket = await xend.client.ws_connect(f"/api/v1/domains/{name}/debugger")
    return domain["id"], Gdb(socket)


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(1, 20)))
def test_packets_arrive_whole(data, cuts):
    stream, packets, got = encode(data) + b"+\x03" + encode(b"?"), Packets(), []
    for cut in [*cuts, len(stream)]:
        requests, reply = packets.feed(stream[:cut])
        stream = stream[cut:]
        got += requests
        assert set(reply) <= set(b"+")
    assert got == [data, INTERRUPT, b"?"]


def test_a_damaged_packet_is_asked_for_again():
    assert Packets().feed(b"$g#00") == ([], b"-")
    assert Packets().feed(b"$" + bytes(70000)) == ([], b"")


@pytest.mark.parametrize("number", range(len(registers.REGISTERS)))
def test_every_register_is_written_and_read_back(number):
    context = abi.vcpu_guest_context()
    size = registers.REGISTERS[number].bits // 8
    name = registers.REGISTERS[number].name
    stored = {"fioff": 4, "fooff": 4, "ftag": 2}.get(name, 2 if size == 4 and name[0] == "f" else 8)
    stored = {"eflags": 4, "mxcsr": 4}.get(name, 2 if name in registers.SEGMENT_NAMES else stored)
    stored = size if size > 8 else min(stored, size)
    digits = (bytes([0x5C] * stored) + bytes(size - stored)).hex()
    if name == "ftag":
        digits = "ff0f0000"  # pairs of bits, each empty or not
    if name in ("fs_base", "gs_base"):
        context.flags = abi.VGCF_in_kernel
    registers.write(context, number, digits)
    assert registers.read(context, number) == digits
    others = [i for i in range(len(registers.REGISTERS)) if i != number]
    untouched = ["ffff0000" if registers.REGISTERS[i].name == "ftag" else None for i in others]
    for i, text in zip(others, untouched, strict=True):
        size = registers.REGISTERS[i].bits // 8
        assert registers.read(context, i) == (text or bytes(size).hex())


def test_debug_registers():
    watched, context = Watchpoints(), abi.vcpu_guest_context()
    assert watched.add(2, 0x1000, 8) and watched.add(4, 0x2004, 4) and watched.add(1, 0x3001, 1)
    assert not watched.add(2, 0x1002, 4), "not aligned"
    assert not watched.add(2, 0x1000, 3) and not watched.add(3, 0x1000, 4)
    watched.load(context)
    assert list(context.debugreg[:4]) == [0x1000, 0x2004, 0x3001, 0]
    assert context.debugreg[7] == 0x400 | 0b010101 | 0b1001 << 16 | 0b1111 << 20
    assert watched.explain(2) == "awatch:2004;" and watched.explain(4) == "hwbreak:;"
    assert watched.add(2, 0x4000, 1) and not watched.add(2, 0x5000, 1), "there are four"
    watched.remove(4, 0x2004, 4)
    assert watched.explain(2) == "" and watched.clear() and not watched.clear()


@with_xend
async def test_hello(xend):
    _, gdb = await debug(xend)
    supported = await gdb.ask("qSupported:swbreak+;xmlRegisters=i386")
    assert "qXfer:features:read+" in supported and "QStartNoAckMode+" in supported
    assert await gdb.ask("QStartNoAckMode") == "OK"
    assert (await xend.call("GET", "/domains/guest"))["state"] == "paused"
    assert await gdb.ask("?") == "T05thread:1;"
    assert await gdb.ask("qfThreadInfo") == "m1" and await gdb.ask("qsThreadInfo") == "l"
    assert await gdb.ask("qC") == "QC1" and await gdb.ask("qAttached") == "1"
    assert bytes.fromhex(await gdb.ask("qThreadExtraInfo,1")) == b"vCPU 0"
    assert await gdb.ask("Hg1") == "OK" and await gdb.ask("Hg2") == "E01"
    assert await gdb.ask("T1") == "OK" and await gdb.ask("T2") == "E01"
    for unknown in ("vMustReplyEmpty", "qTStatus", "qCRC:0,1", "qOffsets", "!", ""):
        assert await gdb.ask(unknown) == ""
    document = await gdb.all("features:read:target.xml")
    assert "i386:x86-64" in document and 'name="fs_base"' in document
    assert 'name="vCPU 0"' in await gdb.all("threads:read:")


@with_xend
async def test_registers_and_memory(xend):
    domid, gdb = await debug(xend)
    context = xend.xen.domains[domid].contexts[0]
    whole = await gdb.ask("g")
    assert len(whole) == sum(register.bits for register in registers.REGISTERS) // 4
    assert int.from_bytes(bytes.fromhex(await gdb.ask("p10")), "little") == context.user_regs.rip
    assert await gdb.ask("P0=" + struct.pack("<Q", 0x1234).hex()) == "OK"
    assert xend.xen.domains[domid].contexts[0].user_regs.rax == 0x1234
    assert await gdb.ask("G" + whole) == "OK"
    assert xend.xen.domains[domid].contexts[0].user_regs.rax == context.user_regs.rax
    page = fake_debug.find(xend.xen, xend.xen.domains[domid], PLACE)
    assert bytes.fromhex(await gdb.ask(f"m{PLACE:x},10")) == bytes(page[:16])
    assert await gdb.ask(f"M{PLACE:x},2:9090") == "OK" and bytes(page[:2]) == b"\x90\x90"
    assert await gdb.ask(f"X{PLACE:x},3:".encode() + b"}#*") == "OK"
    assert bytes(page[:3]) == b"}#*"
    assert await gdb.ask("m0,8") == "E14" and await gdb.ask("M0,1:00") == "E14"
    assert await gdb.ask("m zz,8") == "E01" and await gdb.ask("P0=12") == "E01"
    assert await gdb.ask("vCont;x:1") == "E01" and await gdb.ask("vCont;c:zz") == "E01"
    assert await gdb.ask(f"M{PLACE:x},2:90") == "E01" and await gdb.ask("p99999") == "E01"


@with_xend
async def test_breakpoint(xend):
    domid, gdb = await debug(xend)
    domain = xend.xen.domains[domid]
    page = fake_debug.find(xend.xen, domain, PLACE)
    before = bytes(page[:16])
    assert await gdb.ask(f"Z0,{PLACE + 4:x},1") == "OK"
    assert page[4] == 0xCC
    assert bytes.fromhex(await gdb.ask(f"m{PLACE:x},10")) == before, "gdb sees the program"
    assert await gdb.ask(f"M{PLACE + 4:x},1:41") == "OK" and page[4] == 0xCC
    await gdb.send("vCont;c")
    await until(lambda: not domain.pauses)
    domain.contexts[0].user_regs.rip = PLACE + 5
    fake_debug.trap(xend.xen, domid, 0, BP)
    assert await gdb.answer() == "T05swbreak:;thread:1;"
    assert domain.contexts[0].user_regs.rip == PLACE + 4 and domain.pauses == 2
    assert await gdb.ask(f"z0,{PLACE + 4:x},1") == "OK"
    assert page[4] == 0x41
    assert await gdb.ask("D") == "OK"
    assert domain.pauses == 0 and not domain.debugging.attached


@with_xend
async def test_an_int3_of_the_guests_own(xend):
    domid, gdb = await debug(xend)
    domain = xend.xen.domains[domid]
    await gdb.send("c")
    await until(lambda: not domain.pauses)
    domain.contexts[0].user_regs.rip = PLACE + 5
    fake_debug.trap(xend.xen, domid, 0, BP)
    assert await gdb.answer() == "T05thread:1;"
    assert domain.contexts[0].user_regs.rip == PLACE + 5


def second_vcpu(domain):
    """Play a guest that has started its second vCPU."""
    domain.contexts[1] = abi.vcpu_guest_context.from_buffer_copy(domain.contexts[0])


@with_xend
async def test_one_thread_steps_while_the_other_stays(xend):
    domid, gdb = await debug(xend, vcpus=2)
    domain = xend.xen.domains[domid]
    assert await gdb.ask("qfThreadInfo") == "m1"
    second_vcpu(domain)
    assert await gdb.ask("qfThreadInfo") == "m1,2"
    await gdb.send("vCont;s:2")
    await until(lambda: not domain.pauses)
    assert domain.debugging.held == {0: 1}
    assert domain.contexts[1].user_regs.rflags & TF and not domain.contexts[0].user_regs.rflags & TF
    domain.contexts[1].debugreg[6] = 1 << 14
    fake_debug.trap(xend.xen, domid, 1, DB)
    assert await gdb.answer() == "T05thread:2;"
    assert domain.debugging.held == {0: 0} and not domain.contexts[1].user_regs.rflags & TF
    assert domain.contexts[1].debugreg[6] == 0
    await gdb.send("vCont;s:2;c")
    await until(lambda: not domain.pauses)
    assert domain.debugging.held == {0: 0}, "both run"


@with_xend
async def test_stepping_out_of_a_range_is_one_answer(xend):
    domid, gdb = await debug(xend)
    domain = xend.xen.domains[domid]
    domain.contexts[0].user_regs.rip = PLACE
    await gdb.send(f"vCont;r{PLACE:x},{PLACE + 8:x}:1")
    for rip in (PLACE + 3, PLACE + 6, PLACE + 9):
        await until(lambda: not domain.pauses)
        domain.contexts[0].user_regs.rip = rip
        domain.contexts[0].debugreg[6] = 1 << 14
        fake_debug.trap(xend.xen, domid, 0, DB)
    assert await gdb.answer() == "T05thread:1;"
    assert domain.contexts[0].user_regs.rip == PLACE + 9


@with_xend
async def test_a_step_that_nobody_wants_any_more_is_not_told(xend):
    domid, gdb = await debug(xend)
    domain = xend.xen.domains[domid]
    await gdb.send("vCont;c")
    await until(lambda: not domain.pauses)
    domain.contexts[0].debugreg[6] = 1 << 14
    fake_debug.trap(xend.xen, domid, 0, DB)
    await until(lambda: not domain.debugging.events and not domain.pauses)
    await gdb.socket.send_bytes(b"\x03")
    assert await gdb.answer() == "T02thread:1;"


@with_xend
async def test_watchpoint(xend):
    domid, gdb = await debug(xend)
    domain = xend.xen.domains[domid]
    assert await gdb.ask("Z2,1000,8") == "OK"
    assert await gdb.ask("Z3,1000,8") == "" and await gdb.ask("Z2,1001,8") == "E01"
    assert domain.contexts[0].debugreg[0] == 0x1000 and domain.contexts[0].debugreg[7] & 1
    await gdb.send("vCont;c")
    await until(lambda: not domain.pauses)
    domain.contexts[0].debugreg[6] = 1
    fake_debug.trap(xend.xen, domid, 0, DB)
    assert await gdb.answer() == "T05watch:1000;thread:1;"
    await gdb.socket.close()
    await until(lambda: not domain.pauses)
    assert domain.contexts[0].debugreg[7] == 0x400


@with_xend
async def test_ctrl_c(xend):
    domid, gdb = await debug(xend)
    await gdb.send("vCont;c")
    await until(lambda: not xend.xen.domains[domid].pauses)
    await gdb.socket.send_bytes(b"\x03")
    assert await gdb.answer() == "T02thread:1;"
    assert xend.xen.domains[domid].pauses == 1


@with_xend
async def test_gdb_that_goes_takes_its_breakpoints_along(xend):
    domid, gdb = await debug(xend)
    domain = xend.xen.domains[domid]
    page = fake_debug.find(xend.xen, domain, PLACE)
    before = bytes(page)
    await gdb.ask(f"Z0,{PLACE:x},1")
    await gdb.send("vCont;c")
    await until(lambda: not domain.pauses)
    domain.contexts[0].user_regs.rip = PLACE + 1
    fake_debug.trap(xend.xen, domid, 0, BP)
    await gdb.socket.close()
    await until(lambda: not domain.debugging.attached and not domain.pauses)
    assert bytes(page) == before and domain.contexts[0].user_regs.rip == PLACE
    _, again = await debug(xend, "other")
    assert await again.ask("?") == "T05thread:1;"


@with_xend
async def test_a_xend_that_ends_lets_the_domain_go(xend):
    domid, gdb = await debug(xend)
    domain = xend.xen.domains[domid]
    page = fake_debug.find(xend.xen, domain, PLACE)
    before = bytes(page)
    await gdb.ask(f"Z0,{PLACE:x},1")
    await xend.stop()
    assert bytes(page) == before and not domain.debugging.attached and not domain.pauses
    await xend.start()


@with_xend
async def test_a_xend_that_was_killed_leaves_nobody_debugged(xend):
    """The next one gives the guest its breakpoints back, since nobody would hear of them."""
    await xend.create()
    await xend.stop()
    xend.xen.domains[1].debugging.attached = True
    await xend.start()
    assert not xend.xen.domains[1].debugging.attached


@with_xend
async def test_a_paused_domain_goes_on_by_continue(xend):
    domid, gdb = await debug(xend, paused=True)
    assert xend.xen.domains[domid].pauses == 2
    await gdb.send("vCont;c")
    await until(lambda: not xend.xen.domains[domid].pauses)


@with_xend
async def test_old_traps_are_forgotten(xend):
    await xend.create()
    xend.xen.domains[1].debugging.events[0] = BP
    gdb = Gdb(await xend.client.ws_connect("/api/v1/domains/guest/debugger"))
    await gdb.send("vCont;c")
    await until(lambda: not xend.xen.domains[1].pauses)
    await gdb.socket.send_bytes(b"\x03")
    assert await gdb.answer() == "T02thread:1;"


@with_xend
async def test_a_second_debugger_is_refused(xend):
    _, first = await debug(xend)
    for method, path in (
        ("GET", "/domains/guest/debugger"),
        ("POST", "/domains/guest/actions/unpause"),
        ("POST", "/domains/guest/actions/pause"),
    ):
        assert "debugger holds" in await xend.refused(409, method, path)
    assert "nothing may stop it" in await xend.refused(409, "GET", "/domains/0/debugger")
    await xend.refused(404, "GET", "/domains/nobody/debugger")
    assert not first.socket.closed


@with_xend
async def test_a_debugger_that_fails_as_it_leaves_holds_nothing(xend, monkeypatch):
    def fail(self):
        raise LookupError("a bug")

    _, gdb = await debug(xend)
    monkeypatch.setattr("xend.gdbstub_target.Target.detach", fail)
    await gdb.socket.close()
    await until(lambda: not xend.manager.find("guest").is_debugged())


@with_xend
async def test_a_hypervisor_without_the_interface(xend):
    """Debian's Xen 4.17 is built without CONFIG_GDBSX."""
    await xend.create()
    xend.xen.fail["XEN_DOMCTL_gdbsx_domstatus"] = errno.ENOSYS
    message = await xend.refused(409, "GET", "/domains/guest/debugger")
    assert "lets no domain be debugged" in message
    assert not xend.xen.domains[1].pauses and not xend.xen.domains[1].debugging.attached


@with_xend
async def test_kill_destroys(xend):
    before = xend.footprint()
    _, gdb = await debug(xend)
    assert await gdb.ask("vKill;1") == "OK"
    await xend.until("guest", lambda domain: domain["state"] == "ended")
    assert xend.footprint() == before


@with_xend
async def test_exit_is_told(xend):
    domid, gdb = await debug(xend)
    await xend.store.write(f"/local/domain/{domid}/data/exit-code", "42")
    await gdb.send("vCont;c")
    await until(lambda: not xend.xen.domains[domid].pauses)
    xend.xen.shutdown(domid, abi.SHUTDOWN_poweroff)
    assert await gdb.answer() == "W2a"
    assert await gdb.ask("g") == "E14", "it is gone"


@with_xend
async def test_a_crashed_domain_waits_for_its_debugger(xend):
    before = xend.footprint()
    domid, gdb = await debug(xend)
    await gdb.send("vCont;c")
    await until(lambda: not xend.xen.domains[domid].pauses)
    second_vcpu(xend.xen.domains[domid])
    xend.xen.domains[domid].debugging.events[1] = EVENT_shutdown
    xend.xen.shutdown(domid, abi.SHUTDOWN_crash)
    assert await gdb.answer() == "T0bthread:2;", "the vCPU on which it happened"
    assert len(await gdb.ask("g")) > 100 and (await gdb.ask(f"m{PLACE:x},4"))[0] != "E"
    assert await gdb.ask("vCont;c") == "X06"
    await gdb.socket.close()
    await xend.until("guest", lambda domain: domain["state"] == "ended")
    assert xend.footprint() == before


@with_xend
async def test_destroying_a_debugged_domain(xend):
    before = xend.footprint()
    _, gdb = await debug(xend)
    await xend.call("DELETE", "/domains/guest")
    assert await gdb.ask("g") == "E14" and await gdb.ask("vCont;c") == "W00"
    await gdb.socket.close()
    assert xend.footprint() == before


@with_xend
async def test_the_kernels_file_can_be_fetched(xend):
    await xend.create()
    async with xend.client.get("/api/v1/domains/guest/kernel") as response:
        assert await response.read() == Path(xend.kernel).read_bytes()
    await xend.refused(404, "GET", "/domains/nobody/kernel")


def test_the_fxsave_area_is_where_the_context_begins():
    assert abi.vcpu_guest_context.fpu_ctxt.offset == 0
    assert ctypes.sizeof(abi.vcpu_guest_context_fpu_ctxt) == 512
