"""Test kernels as unprivileged domains: the self-test, and guests that mean harm."""

import re

import pytest

from tests.guests.domu import Domains, disk_image
from tools.setup.patience import PATIENCE_S

TEXT = b"A text on a disk.\nIts second line ends it.\n"
RANDOM_S = 15  # of random acts; few of these guests end
NEVER_S = 3  # long enough to see that a guest goes on
DEATHS = ("fault", "stack", "iret", "callback", "jump", "cr3", "syscall", "nonsense")
DEATHS += ("pinned", "granted", "ports", "disk", "spin")
NEVER_END = {"spin"}


def run(domains, name, kernel, timeout=PATIENCE_S, **config):
    """Run a domain to its end; return its record (None: it did not end) and its console."""
    domains.create(name, kernel, memory=32, on_reboot="destroy", **config)
    try:
        return domains.wait_end(name, timeout), domains.console(name)
    finally:
        domains.destroy(name)


@pytest.fixture
def domains(host):
    return Domains(host)


@pytest.fixture
def xvda(domains, tmp_path):
    """A disk for a domain, with a text on it."""
    image = disk_image(tmp_path / "disk.img", TEXT)
    return {"target": domains.upload(image), "vdev": "xvda"}


@pytest.fixture
def free_before(domains, xvda, warmed=[]):  # noqa: B006  once for all tests of this machine
    """The free pages, after dom0 has served a disk once: its tables of grants stay."""
    if domains.client.url not in warmed:
        run(domains, "warm-up", "guest_hostile", disks=[xvda], cmdline="mode=disk")
        warmed.append(domains.client.url)
    return domains.free_pages()


@pytest.mark.parametrize("kernel", ["guest_selftest", "guest_errors"])
def test_verdict_as_domu(domains, kernel):
    record, console = run(domains, kernel, kernel)
    assert record is not None and record["exit"]["code"] == 0, console


def test_a_crash_is_explained(domains, host):
    """Function, file and line: in xend's record, in the hypervisor's messages and the run's log."""
    since = host.serial.position()
    record, _ = run(domains, "crashes", "guest_hostile", cmdline="mode=fault")
    (vcpu,) = record["crash"]["vcpus"]
    callers = [(f["symbol"], f["file"].rpartition("/tests/")[2]) for f in vcpu["backtrace"]]
    assert ("die_of_fault", "guests/kernels/deaths.py") in callers[:3]
    assert ("main", "guests/kernels/hostile.py") in callers
    assert all(f["line"] for f in vcpu["backtrace"][:4])
    for text in (domains.client.text("/host/dmesg"), host.serial.text(since)):
        assert re.search(r"of 'crashes' crashed at\nxend:   0x\w+ die_of_fault", text)
        assert re.search(r"xend:   0x\w+ die\+0x\w+ .*guests/kernels/deaths\.py:\d+\n", text)
        if host.config.name.endswith("proxen"):
            assert re.search(r"proxen: d\d+ crashed: .*\n(.*\n){8,10}proxen:   called from", text)


def test_debug_keys_answer(domains, host):
    """What they print is the caller's to read, and in the hypervisor's messages."""
    if not host.config.name.endswith("proxen"):
        pytest.skip("the answers are Proxen's own")
    text = domains.client.post_for_text("/host/debug-keys", {"keys": "qd"})
    assert "key q: domains and their vCPUs" in text and re.search(r"d0: \d+ of \d+ pages", text)
    assert "cpu 0:" in text and "cpu 1:" in text and "does not answer" not in text
    assert text in domains.client.text("/host/dmesg")


def test_a_kernel_to_talk_to(domains):
    """Keys go through the WebSocket, the console daemon and the ring; backspace works."""
    domains.create("echo", "echo", memory=32)
    try:
        printed, how = domains.talk("echo", b"hellp\x7fo\rquit\r", PATIENCE_S)
    finally:
        domains.destroy("echo")
    assert b"echo: hello\n" in printed.replace(b"\r", b"")
    assert how == {"reason": "poweroff", "code": 0}


@pytest.mark.parametrize("mode", DEATHS)
def test_death_harms_nobody_else(domains, dom0, xvda, free_before, mode):
    """However a guest dies, dom0 lives on and every page comes back."""
    line, patience = f"mode={mode}", NEVER_S if mode in NEVER_END else PATIENCE_S
    record, _ = run(domains, f"dies-{mode}", "guest_hostile", patience, disks=[xvda], cmdline=line)
    assert (record is None) == (mode in NEVER_END)
    assert mode != "fault" or record["exit"]["reason"] == "crash"
    assert dom0.check("echo alive").strip() == "alive"
    assert domains.free_pages(at_least=free_before) >= free_before


@pytest.mark.parametrize("nth", range(1, 5))
@pytest.mark.parametrize("mode", ["random", "reckless", "instructions"])
def test_random_acts_harm_nobody_else(domains, dom0, free_before, mode, nth, run_seed):
    """Hypercalls with any arguments, or instructions that a guest may not execute."""
    line = f"mode={mode} seed={run_seed + nth} rounds=20000"
    run(domains, f"{mode}-{nth}", "guest_hostile", RANDOM_S, cmdline=line)
    assert dom0.check("echo alive").strip() == "alive"
    assert domains.free_pages(at_least=free_before) >= free_before


def test_a_thief_gets_nothing(domains):
    """No frame of dom0, of the hypervisor or of a device can be mapped by another domain."""
    record, console = run(domains, "thief", "guest_hostile", cmdline="mode=thief")
    assert record is not None and "hostile: stole 0 of" in console, console
