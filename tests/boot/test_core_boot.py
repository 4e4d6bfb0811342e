"""The core alone: how far it comes, with how many processors, and how it fails without a dom0."""

import re
import time
from pathlib import Path

import pytest

from kernel.x86.boot_area import TEXT_SCREEN
from tools.qemu.config import Config
from tools.qemu.machine import Machine
from tools.run.build import build_core
from tools.setup.patience import PATIENCE_S


@pytest.fixture(scope="module")
def core() -> Path:
    return build_core()


def _machine(core: Path, tmp_path: Path, **changes) -> Machine:
    no_kernel = tmp_path / "not-a-kernel"
    no_kernel.write_text("This is no ELF file.\n")
    settings = {
        "name": "core",
        "kernel": no_kernel,
        "hypervisor": core,
        "nic": None,
        "hypervisor_args": "console=com1",
    }
    return Machine(Config(**(settings | changes)))


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_every_processor_starts(core, tmp_path, cpus):
    with _machine(core, tmp_path, cpus=cpus) as machine:
        machine.wait_for(rf"proxen: {cpus} processors run", PATIENCE_S)


TWO_NODES = (
    *("-smp", "4,sockets=2,cores=1,threads=2"),
    *("-object", "memory-backend-ram,id=near,size=1G"),
    *("-object", "memory-backend-ram,id=far,size=2G"),
    *("-numa", "node,nodeid=0,memdev=near,cpus=0-1"),
    *("-numa", "node,nodeid=1,memdev=far,cpus=2-3"),
    *("-numa", "dist,src=0,dst=1,val=21"),
)


def test_threads_and_nodes_are_seen(core, tmp_path):
    with _machine(core, tmp_path, cpus=4, extra=TWO_NODES) as machine:
        machine.wait_for(r"proxen: 2 threads on a core, 2 nodes", PATIENCE_S)


def test_a_missing_kernel_is_named(core, tmp_path):
    with _machine(core, tmp_path) as machine:
        log = machine.serial
        machine.serial.wait_for("processors run", PATIENCE_S)
        with pytest.raises(Exception, match="panic"):
            machine.wait_for("domain 0 starts", PATIENCE_S)
        assert "domain 0" in log.text()


def text_screen(machine) -> str:
    """Return the characters on a PC's text screen."""
    dump = machine.monitor.human(f"xp /{80 * 25}hx {TEXT_SCREEN:#x}")
    words = [int(word, 16) for word in re.findall(r"0x([0-9a-f]{4})\b", dump)]
    return "".join(chr(word & 0xFF) for word in words)


def test_an_early_death_is_on_the_screen(core, tmp_path):
    """No word goes over the serial line there."""
    settings = {"hypervisor_args": "console=vga", "extra": ("-device", "VGA"), "cpus": 1}
    with _machine(core, tmp_path, **settings) as machine:
        end = time.monotonic() + PATIENCE_S
        while "proxen: the core has stopped." not in (shown := text_screen(machine)):
            assert time.monotonic() < end, shown
            time.sleep(0.1)
        assert "kernel/dom0/elf.py" in shown
        assert "proxen" not in machine.serial.text()


def test_the_image_is_small(core):
    assert core.stat().st_size < 1 << 20


@pytest.mark.parametrize("memory", ["256M", "3G", "6G"])
def test_any_amount_of_memory(core, tmp_path, memory):
    with _machine(core, tmp_path, memory=memory) as machine:
        machine.wait_for(r"proxen: \d+ KiB free", PATIENCE_S)
