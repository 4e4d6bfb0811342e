"""`xm gdb` on real domains: Debian's gdb, Python source lines, two vCPUs, and stock Linux."""

import re
import time

import pytest

from tests.guests.domu import Domains
from tests.host_tools import needs
from tests.toolstack.guest_console import GuestConsole
from tests.toolstack.test_domains import LINUX, xm
from tools.qemu.hosts import XENS, default_kind
from tools.setup.patience import PATIENCE_S

pytestmark = [
    needs("gdb"),
    pytest.mark.skipif(default_kind() in XENS, reason="Debian's Xen has no CONFIG_GDBSX"),
]


@pytest.fixture
def domains(host):
    made = Domains(host)
    yield made
    for domain in made.client.get("/domains?ended=1")["domains"]:
        if domain["id"] != 0:
            made.destroy(domain["name"])


def gdb(domains, name, *commands):
    """Run gdb commands on a domain; returns what they print, in a list."""
    words = []
    for command in commands:
        words += ["-ex", "echo @@", "-ex", command]
    code, out, err = xm(domains.client, "gdb", name, "--", "-batch", *words)
    output = out.split("@@")
    assert code == 0 and len(output) == len(commands) + 1, out + err
    return output[1:]


def test_a_kernel_from_its_first_instruction_to_its_end(domains):
    domains.create("debuggee", "guest_debuggee", memory=16, paused=True)
    first, _, at_main, _, at_area, stack, point, _, height, _, watched, _, end = gdb(
        domains,
        "debuggee",
        "info symbol $pc",
        "break main",
        "continue",
        "tbreak area",
        "continue",
        "backtrace",
        "print *point",
        "next",
        "next",
        "watch points[1].kind",
        "info watchpoints",
        "delete",
        "continue",
    )
    assert first.startswith("start in section .text")
    assert re.search(r"main \(\) at .*tests/guests/kernels/debuggee.py:\d+", at_main)
    assert re.search(
        r"area \(point=0x\w+ .*scale=1\) at .*tests/guests/kernels/debuggee.py", at_area
    )
    assert re.search(r"#1 .*total_area \(scale=1\).*\n#2 .*main", stack)
    assert "x = 1" in point and "kind = corner" in point
    assert "width * height" in height
    assert "hw watchpoint" in watched
    assert re.search(r"exited with code 0?14\b", end), "12 in octal"
    record = domains.wait_end("debuggee", PATIENCE_S)
    assert record["exit"] == {"reason": "poweroff", "code": 12}
    assert "debuggee: 12" in domains.console("debuggee")


def test_threads_are_vcpus(domains):
    domains.create("two", "guest_debuggee", memory=16, vcpus=2, cmdline="mode=spin")
    wait_for_second_vcpu(domains, "two")
    threads, _, hit, first, _, second, alone = gdb(
        domains,
        "two",
        "info threads",
        "break area",
        "continue",
        "print ticks",
        "thread apply 1 next",
        "print ticks",
        "thread apply all -q backtrace 1",
    )
    assert '"vCPU 0"' in threads and '"vCPU 1"' in threads
    assert re.search(r"count_ticks \(\) at .*debuggee.py", threads)
    assert "hit Breakpoint 1" in hit
    assert int(first.split("=")[1]) <= int(second.split("=")[1])
    assert "area (" in alone and "count_ticks ()" in alone
    running = domains.client.get("/domains/two")
    assert running["state"] in ("running", "blocked"), "gdb is gone and it goes on"
    until(lambda: domains.client.get("/domains/two")["cpu_time_s"] > running["cpu_time_s"])


def until(condition):
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


def wait_for_second_vcpu(domains, name):
    """Wait until both vCPUs are up."""
    until(lambda: domains.client.get(f"/domains/{name}")["vcpus"] == 2)


def test_watchpoint_and_hardware_breakpoint(domains):
    domains.create("watched", "guest_debuggee", memory=16, paused=True, cmdline="mode=spin")
    _, _, value, changed, _, hardware, where = gdb(
        domains,
        "watched",
        "tbreak total_area",
        "continue",
        "watch rounds",
        "continue",
        "delete",
        "thbreak area",
        "continue",
    )
    assert "Hardware watchpoint" in value
    assert "Old value = 1" in changed and "New value = 2" in changed
    assert "Hardware assisted breakpoint" in hardware
    assert re.search(r"area \(point=", where)


def test_a_crash_can_be_looked_at(domains):
    domains.create("crashing", "guest_hostile", memory=32, paused=True, cmdline="mode=fault")
    stop, stack, _, _ = gdb(domains, "crashing", "continue", "backtrace", "info threads", "kill")
    assert "SIGSEGV" in stop
    assert re.search(r"#0 .*die_of_fault \(\) at tests/guests/kernels/deaths.py", stack), (
        "where it fell"
    )
    assert domains.wait_end("crashing", PATIENCE_S)["exit"]["reason"] in ("crash", "destroyed")


def test_kill_destroys(domains):
    domains.create("victim", "guest_debuggee", memory=16, cmdline="mode=spin")
    gdb(domains, "victim", "kill")
    assert domains.wait_end("victim", PATIENCE_S)["exit"]["reason"] == "destroyed"


def test_stock_linux_stops_and_goes_on(domains):
    """Registers and memory of a kernel without symbols, then a step, then it lives on."""
    domains.client.post("/domains", {**LINUX, "name": "linux", "cmdline": "console=hvc0"})
    console = GuestConsole(domains.client, "linux")
    console.wait_for("domU# ")
    console.close()
    threads, registers, code, *_, hit, stack, after = gdb(
        domains,
        "linux",
        "info threads",
        "info registers rip rsp gs_base cs",
        "x/2i $pc",
        "break xen_safe_halt",
        "continue",
        "backtrace 1",
        "stepi",
    )
    assert '"vCPU 0"' in threads and '"vCPU 1"' in threads
    assert re.search(r"rip +0x\w+ +0xffffffff8\w+ <\w+", registers) and "gs_base" in registers
    assert re.search(r"=> 0xffffffff8\w+ <\w+", code), "names from the kernel's kallsyms"
    assert "hit Breakpoint 1, 0x" in hit and "in xen_safe_halt ()" in stack
    assert re.search(r"0xffffffff8\w+ in xen_safe_halt ()", after)
    console = GuestConsole(domains.client, "linux")
    assert console.check("echo alive after gdb").strip().endswith("alive after gdb")
    console.close()
