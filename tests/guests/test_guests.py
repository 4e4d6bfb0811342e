"""Boot each test kernel as the initial domain and read its verdict."""

import re

import pytest

from tools.qemu.config import Config
from tools.qemu.hosts import XENS, default_kind, hypervisor
from tools.qemu.machine import Machine, MachineFailure
from tools.setup.paths import BUILD
from tools.setup.patience import PATIENCE_S

KERNELS = ("guest_selftest", "guest_errors")
ARGS = "dom0_mem=256M,max:256M dom0_max_vcpus=1 console=com1 com1=115200"

pytestmark = pytest.mark.boot


def machine(
    kernel: str, cpus: int = 2, kind: str | None = None, args: str = "", core_args: str = ""
) -> Machine:
    """A machine whose dom0 is one of our own kernels: no disk, no network."""
    return Machine(
        Config(
            name=kernel,
            kernel=BUILD / f"{kernel}.elf",
            hypervisor=hypervisor(kind or default_kind()),
            hypervisor_args=f"{ARGS} {core_args}",
            kernel_args=args,
            nic=None,
            cpus=cpus,
        )
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_verdict(kernel):
    with machine(kernel) as m:
        found = m.wait_for(r"guest: (pass|FAIL).*", PATIENCE_S)
        failures = re.findall(r"^FAIL .*", m.serial.text(), re.MULTILINE)
    assert found[1] == "pass", "\n".join(failures)


def test_buffers_are_emptied_on_the_way_to_a_guest():
    """QEMU's processor has no need of it: told to do so, the core does it all the same."""
    with machine("guest_selftest", kind="proxen", core_args="spec-ctrl=md-clear") as m:
        found = m.wait_for(r"guest: (pass|FAIL).*", PATIENCE_S)
        assert found[1] == "pass"
        assert "MDS absent" in m.serial.text() and "Spectre v2 OPEN" in m.serial.text()


QEMU_INT_N = {"FAIL int 0x77 comes", "FAIL int 0x78: the error code names it"}


def test_traps():
    """On real Xen, QEMU 7.2's wrong error code of `int n` shows; the core reads the instruction."""
    known = QEMU_INT_N if default_kind() in XENS else set()
    with machine("guest_traps") as m:
        m.wait_for(r"guest: (pass|FAIL).*", PATIENCE_S)
        failures = set(re.findall(r"^FAIL .*?(?=\r?$)", m.serial.text(), re.MULTILINE))
    assert failures <= known


def test_breakpoint_is_reported_with_function_names():
    """libos prints registers and symbolised addresses, on the way to the self-test's verdict."""
    with machine("guest_selftest") as m:
        m.wait_for(r"guest: pass", PATIENCE_S)
        assert re.search(r"trap 3: #BP breakpoint.*\n  0x[0-9a-f]{16} main\+0x", m.serial.text())


def test_hello_says_hello():
    with machine("hello") as m:
        assert m.wait_for(r"Hello, world: a kernel with 65536 pages, dom0", PATIENCE_S)


def test_readfile_fails_cleanly_without_a_disk():
    """As dom0 it has no xenstore to ask; it must say so and end, not hang."""
    with machine("readfile") as m:
        assert m.wait_for(r"readfile: there is no disk xvda", PATIENCE_S)


def console_of_overflow(how: str, kind: str | None = None) -> str:
    """What is printed until the kernel that runs over its stack is no more."""
    with machine("guest_overflow", kind=kind, args=f"how={how}") as m:
        with pytest.raises(MachineFailure, match="the machine is lost"):
            m.wait_for(r"overflow: FAIL", PATIENCE_S)
        return m.serial.text()


@pytest.mark.parametrize(("how", "thread"), (("boot", "0"), ("thread", "1")))
def test_running_over_a_stack_is_reported(how, thread):
    """By libos, with a backtrace, from the page below the guard."""
    report = console_of_overflow(how).partition(f"stack overflow in thread {thread}")[2]
    assert re.search(r"large_frame\+0x(?s:.*)(overflow_here|begin_thread)", report)


def test_calls_without_end_end_the_domain():
    """The hypervisor has no stack for the fault: it says that, and nothing is overwritten."""
    failed = {"proxen": "its kernel stack cannot be written", "xen": "create_bounce_frame"}
    assert failed[default_kind()] in console_of_overflow("calls")
