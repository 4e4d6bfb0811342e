"""`make debug` with Debian's gdb in batch mode: the core and a toy kernel in one session."""

import re
import subprocess
import sys

import pytest

from tests.host_tools import needs
from tools.setup.paths import ROOT
from tools.setup.patience import PATIENCE_S

KERNEL = "build/guest_debuggee.elf"
DEBUG = (sys.executable, "-m", "tools.run", "debug")

pytestmark = needs("gdb")


def debug(*commands, kernel=KERNEL, options=()):
    """Run gdb commands on a machine that starts; returns what gdb prints, by command."""
    words = [word for command in marked(commands) for word in ("-ex", command)]
    done = subprocess.run(
        [*DEBUG, "--kernel", kernel, *options, "--", "-batch", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    if done.returncode and gave_up_counting(done.stderr):
        pytest.skip("this QEMU cannot step while it counts instructions: Bad icount read")
    assert done.returncode == 0, done.stdout + done.stderr
    output = (done.stdout + done.stderr).split("@@")
    assert len(output) == len(commands) + 1, "\n".join(output)
    return output[1:]


def gave_up_counting(said):
    """Say whether QEMU ended itself as 10.0 does when gdb steps over what reads the clock."""
    folder = re.search(r"serial console is in (.+)/serial.log", said)
    return folder and "Bad icount read" in (ROOT / folder[1] / "qemu.log").read_text()


def marked(commands):
    """Let each command's output begin with a mark."""
    for command in commands:
        yield from ("echo @@", command)


def test_the_core_from_its_first_line():
    where, _, stop, stack, argument, vcpu, domain, place = debug(
        "frame",
        "break do_console_io",
        "continue",
        "backtrace",
        "info args",
        "print *vcpu",
        "print *vcpu.domain",
        "info breakpoints",
    )
    assert re.search(
        r"start_core \(loader_magic=\d+, loader_info=\d+, image_offset=0\) at kernel/main.py:\d+",
        where,
    )
    assert "Breakpoint 2, do_console_io (vcpu=0x" in stop and "kernel/console/console_io.py" in stop
    assert re.search(r"call_handler .*kernel/entry/hypercall.py:\d+", stack)
    assert re.search(r"syscall_from_guest .*kernel/entry/hypercall.py:\d+", stack)
    assert "entry.asm" in stack
    assert re.search(r"command = \d+", argument)
    assert re.search(r"rip is \w+", vcpu) and "vcpu_id = 0" in vcpu and "kernel_mode = true" in vcpu
    assert "domain_id = 0" in domain and "kill_phase = events" in domain, "an enum by name"
    assert "event_lock = free" in domain and "shared_info_mfn = 0x" in domain
    assert "breakpoint already hit 1 time" in place


def test_core_and_guest_in_one_session():
    _, stop, point, array, stack, _, _, core, guest = debug(
        "break area",
        "continue",
        "print *point",
        "print points[0].y",
        "backtrace",
        "delete",
        "tbreak do_sched_op",
        "continue",
        "proxen guest 0.0",
    )
    assert re.search(r"area \(point=0x\w+ .*scale=1\) at tests/guests/kernels/debuggee.py", stop)
    assert "x = 1" in point and "kind = corner" in point
    assert "= 2" in array
    assert re.search(r"total_area \(scale=1\).*\n#2 .*main \(\)", stack)
    assert "do_sched_op (vcpu=0x" in core and "kernel/sched/sched_op.py" in core
    calls = re.findall(r"^#\d+ +0x\w+ (\w+)", guest, re.MULTILINE)
    assert calls[0] == "hypercall_page" and "power_off" in calls and calls[-1] == "start"
    assert re.search(r"power_off.*libos/shutdown.py:\d+", guest)


def test_stepping_lands_on_the_next_lines():
    output = debug("tbreak area", "continue", "next", "next", "finish")
    lines = [int(n) for text in output for n in re.findall(r"^(\d+)\t", text, re.MULTILINE)]
    assert lines == sorted(lines), "never backwards"
    assert "Value returned" in output[-1] or "Run till exit" in output[-1]


def test_the_commands():
    texts = dict(
        zip(
            COMMANDS,
            debug("tbreak area", "continue", *COMMANDS)[2:],
            strict=True,
        )
    )
    assert re.search(r"0 +\d+ +\d+ +\d+ +alive", texts["proxen domains"])
    assert re.search(r"d0v0 +running on CPU \d +kernel +0x\w+ area", texts["proxen vcpus"])
    assert re.search(r"CPU \d: guest, state of d0v0", texts["proxen cpus"])
    assert re.search(r"CPU \d: d0v0", texts["proxen runq"])
    assert "VIRQ_TIMER" in texts["proxen evtchn 0"]
    assert re.search(r"writable x\d+, validated.*owner d0", texts[COMMANDS[5]])
    assert len(re.findall(r"^L[1-4]\[", texts[COMMANDS[6]], re.MULTILINE)) == 4
    assert "machine address 0x" in texts[COMMANDS[6]]
    assert "executes now" in texts["proxen guest 0.0"]
    assert "frame 0x12345 W U A D NX" in texts["proxen pte 0x8000000012345067"]
    assert "proxen walk ADDRESS" in texts["proxen help"]


def test_python_names():
    """Dotted names break, be the function inlined everywhere or not, and TAB completes them."""
    send, status, line, modules, functions = debug(
        "proxen break kernel.evtchn.channel.evtchn_send",
        "break kernel.evtchn.channel.wake_pollers",
        "break kernel/evtchn/channel.py:118",
        "complete proxen break kernel.evtchn.event_",
        "complete proxen break kernel.evtchn.channel.evtchn_s",
    )
    assert re.search(r"Breakpoint 2 at 0x\w+", send)
    assert re.search(r"Breakpoint 3 at 0x\w+: file kernel/evtchn/channel.py", status)
    # One place, or each in which it was inlined
    found = r"Breakpoint 4 at 0x\w+: (file )?kernel/evtchn/channel.py(, line |:)1[12]\d"
    assert re.search(found, line)
    assert "proxen break kernel.evtchn.event_channel_op." in modules
    assert "proxen break kernel.evtchn.channel.evtchn_send" in functions


COMMANDS = (
    "proxen help",
    "proxen domains",
    "proxen vcpus",
    "proxen cpus",
    "proxen runq",
    "proxen frame domain_table.first.shared_info_mfn",
    "proxen walk &area 0.0",
    "proxen evtchn 0",
    "proxen guest 0.0",
    "proxen pte 0x8000000012345067",
)


MISTAKES = {
    "proxen guest 9.0": "there is no domain 9; there are: 0",
    "proxen guest 0.77": "has no vCPU 77",
    "proxen guest x": "write DOMAIN.VCPU",
    "proxen walk": "usage: proxen walk ADDRESS",
    "proxen break kernel.evtchn.channel.evtchn_sned": "has no function 'evtchn_sned'",
    "proxen break kernel.evtch.evtchn_send": "there is no module 'kernel.evtch'",
    "proxen symbols /no/vmlinux": "there is no file '/no/vmlinux'",
    "proxen frame 0xffffffffff": "no memory that the frame table describes",
}


def test_mistakes_are_one_sentence():
    words = ["-ex", "proxen domains", "-ex", "tbreak area", "-ex", "continue"]
    for command in MISTAKES:
        words += ["-ex", command]
    command = [sys.executable, "-m", "tools.run", "debug", "--kernel", KERNEL, "--", "-batch"]
    done = subprocess.run(
        [*command, *words], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S
    )
    for words in MISTAKES.values():
        (line,) = [line for line in done.stderr.splitlines() if words in line]
        assert not line.startswith("Python Exception")
    assert "Traceback" not in done.stderr


def test_the_help_teaches():
    command = [sys.executable, "-m", "tools.run", "debug", "--help"]
    shown = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S
    ).stdout
    assert "make debug KERNEL=build/hello.elf" in shown and "break evtchn_send" in shown


def test_no_kernel_of_that_name():
    command = [sys.executable, "-m", "tools.run", "debug", "--kernel", "/no/kernel.elf"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode != 0 and "there is no kernel /no/kernel.elf" in done.stderr


def test_with_a_seed_a_session_repeats_to_the_nanosecond():
    """Deadlines are readings of the clock; stopping for gdb must not shift it either."""
    commands = ("break set_timer", "continue", "continue", "info args", "info registers", "frame")
    first, second = (debug(*commands, options=("--seed", "7")) for _ in range(2))
    assert "expires_ns = " in first[3]
    assert first[3:5] == second[3:5]
