"""The machine ends as domain 0, or its watchdog, asks for it; test_repeatable sees it off."""

import pytest

from tests.hosts import boot
from tools.qemu.hosts import READY, default_kind, dom0_machine
from tools.setup.patience import PATIENCE_S

pytestmark = [
    pytest.mark.boot,
    pytest.mark.long,
    pytest.mark.skipif(default_kind() == "linux", reason="needs a hypervisor"),
]
RESTARTS = ("-action", "reboot=reset")


def test_a_machine_that_dom0_restarts_comes_back():
    machine = boot(default_kind(), "test-restart", extra=RESTARTS)
    try:
        since = machine.serial.position()
        machine.serial.write("reboot -f\n")
        machine.wait_for(READY, PATIENCE_S, since)
        assert float(machine.shell.check("cut -d ' ' -f 1 /proc/uptime")) < PATIENCE_S
    finally:
        machine.stop()


def test_a_dom0_that_is_silent_is_restarted():
    usual = dom0_machine(default_kind()).kernel_args
    machine = boot(
        default_kind(), "test-watchdog", extra=RESTARTS, kernel_args=f"{usual} watchdog=300"
    )
    try:
        machine.shell.check("[ -d /proc/$(pidof watchdog) ]")
        machine.shell.check("killall watchdog; rmmod xen_wdt || true; modprobe xen_wdt")
        since = machine.serial.position()
        machine.serial.write("watchdog -T 4 -t 1 /dev/watchdog; killall -STOP watchdog\n")
        machine.wait_for(READY, PATIENCE_S, since)
    finally:
        machine.stop()
