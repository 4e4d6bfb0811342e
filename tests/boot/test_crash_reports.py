"""What the core says when something goes wrong: each report names functions, files and lines."""

import re
from pathlib import Path

import pytest

from tools.qemu.config import Config
from tools.qemu.machine import Machine, MachineFailure
from tools.run.boot import follow
from tools.run.build import build_programs
from tools.setup.paths import BUILD, CORE
from tools.setup.patience import PATIENCE_S

END = "the core has stopped."
CTRL_A = "\x01"
IDLE = r"idle\+.* kernel/sched/schedule\.py"  # asleep there, or zeroing free memory
SPINS = "d0v0 (runs in|entered the core from) kernel mode"  # a timer may have struck just then


@pytest.fixture(scope="module", autouse=True)
def built():
    build_programs("core", "guest_hostile")


def machine(kernel_args: str) -> Machine:
    """A machine whose domain 0 is the guest that means harm."""
    settings = {
        "name": "test-crash",
        "kernel": BUILD / "guest_hostile.elf",
        "kernel_args": kernel_args,
        "hypervisor": CORE,
        "hypervisor_args": "console=com1 dom0_mem=256M dom0_max_vcpus=1",
        "memory": "1G",
        "nic": None,
    }
    return Machine(Config(**settings))


def press(running: Machine, keys: str, expected: str) -> str:
    """Press debug keys on the serial line; return the log from there to what is expected."""
    since = running.serial.position()
    running.serial.write(3 * CTRL_A + keys + 3 * CTRL_A)
    running.serial.wait_for(expected, PATIENCE_S, since)
    return running.serial.text(since)


def test_debug_keys_say_what_everybody_does():
    with machine("mode=spin") as running:
        running.wait_for("mode spin", PATIENCE_S)
        log = press(running, "dqrmhz", "domain 0's again")
        assert "cpu 0:" in log and "cpu 1:" in log
        assert re.search(SPINS, log)
        assert re.search(r"0x\w+ idle\+0x\w+ kernel/sched/schedule\.py:\d+", log)
        assert re.search(r"d0: \d+ of \d+ pages", log) and "v0 runs on cpu" in log
        assert "0 wait:" in log and "frames are free" in log
        assert "run queue" in log and "no debug key has code 122" in log
        assert running.alive()


def test_a_boot_that_hangs_is_explained(capfd):
    failure = pytest.raises(
        MachineFailure, match=r"no milestone for \d+ s; last milestone: .*domain 0"
    )
    with failure as raised, machine("mode=spin") as running:
        running.wait_for("mode spin", PATIENCE_S)
        follow(running, stall_s=1)
    text = str(raised.value)
    assert re.search(r"cpu \d: runs in a guest", text) or "runs in the core" in text
    assert re.search(r"spin\S* .*tests/guests/kernels/deaths\.py:\d+", text)
    assert re.search(r"main\+0x\w+ tests/guests/kernels/hostile\.py:\d+", text)
    assert re.search(r"idle_wait\+0x\w+ kernel/x86/idle\.py:\d+", text)
    folder = Path(re.search(r"traces: (.+)", text)[1])
    assert "deaths.py" in (folder / "cpus").read_text()
    assert "deaths.py" in (folder / "failure").read_text()
    log = (folder / "serial.log").read_text()
    assert "NMI from outside" in log and "idle_wait" in log, "the core has not said its own view"
    assert "domain 0 starts" in capfd.readouterr().err


def test_a_panic_names_lines_and_every_processor():
    with machine("mode=spin") as running:
        running.wait_for("mode spin", PATIENCE_S)
        with pytest.raises(MachineFailure, match="debug key C; last milestone: .*serial line is"):
            press(running, "C", "never printed")
        log = running.serial.text()
        assert log.rstrip().endswith(END)
        assert "panic: somebody pressed the debug key C" in log
        assert re.search(r"at kernel/panic/debug_keys\.py:\d+, cpu \d", log)
        assert re.search(r"0x\w+ crash_core\+0x\w+ kernel/panic/debug_keys\.py:\d+", log)
        assert re.search(r"0x\w+ serve_console.* kernel/console/input\.py:\d+", log)
        assert re.search(r"rip e008:ffff82d0\w+ rflags", log) and "cr4 " in log
        assert "d0v0" in log and len(re.findall(r"^proxen: cpu \d:", log, re.MULTILINE)) == 1
        assert "does not answer" not in log
        assert not running.alive()


def test_a_machine_check_is_a_panic_with_everything():
    with machine("mode=spin") as running:
        running.wait_for("mode spin", PATIENCE_S)
        running.monitor.human("mce 0 0 0xb200000000000000 0x5 0 0")  # uncorrected, from bank 0
        with pytest.raises(MachineFailure, match="panic: #MC in the core"):
            running.wait_for("never printed", PATIENCE_S)
        log = running.serial.text()
        assert re.search(r"0x\w+ run_guests\+0x\w+ kernel/main\.py:\d+", log)
        assert log.rstrip().endswith(END)


def test_a_guest_that_libos_ends_names_its_lines():
    with machine("mode=jump") as running:
        with pytest.raises(MachineFailure, match="d0 crashed: it says so itself"):
            running.wait_for("never printed", PATIENCE_S)
        log = running.serial.text()
        assert re.search(
            r"trap 13: #GP.*\n(.*\n)*  0x\w+ libos_start\+0x\w+ libos/start\.py:\d+", log
        )
        assert re.search(
            r"proxen: d0v0 in kernel mode on cpu \d(.*\n)+proxen:   called from \w{16}", log
        )


def test_a_processor_that_hangs_in_the_core_is_reported_by_another():
    with machine("mode=spin") as running:
        running.wait_for("mode spin", PATIENCE_S)
        report = r"has taken no interrupt for 15 s(.*\n)+.*proxen: cpu \d:(.*\n)+.* hang\+.*\n"
        log = press(running, "W", report)
        assert re.search(r"hang\+0x\w+ kernel/panic/debug_keys\.py:\d+", log)
        assert running.alive()


def test_an_nmi_from_outside_is_a_question():
    with machine("mode=spin") as running:
        running.wait_for("mode spin", PATIENCE_S)
        since = running.serial.position()
        running.monitor.execute("inject-nmi")
        running.serial.wait_for(IDLE, PATIENCE_S, since)
        running.serial.wait_for(SPINS, PATIENCE_S, since)
        assert running.alive()
