"""The machine's own tools: command lines, milestones, failures that say where a boot stood."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.image.build import build_image
from tools.qemu import hardware
from tools.qemu.config import Config, Disk, command_line, files
from tools.qemu.hardware import DISKS, chosen
from tools.qemu.machine import Machine, MachineFailure
from tools.qemu.milestones import fatal_line, last_milestone
from tools.setup.paths import ROOT
from tools.setup.patience import PATIENCE_S


def _line(**changes) -> str:
    config = Config(**({"name": "t", "kernel": Path("/k")} | changes))
    return " ".join(command_line(config, "tcg"))


def test_commas_in_module_arguments_do_not_split_modules():
    line = _line(hypervisor=Path("/h"), initramfs=Path("/i"), kernel_args="console=hvc0,a")
    assert "-kernel hypervisor" in line
    assert "-initrd kernel console=hvc0,,a,initrd" in line


def test_what_a_machine_boots_from_is_linked_whatever_its_path():
    odd = Path("/a folder, with a comma/disk 0.img")
    config = Config("t", Path("/k"), hypervisor=Path("/h"), disks=(Disk(odd), Disk(Path("/b"))))
    assert "comma" not in " ".join(command_line(config, "tcg"))
    named = {"hypervisor": Path("/h"), "kernel": Path("/k"), "disk0": odd, "disk1": Path("/b")}
    assert files(config) == named


def test_hardware_is_chosen_by_the_environment():
    words = {
        "PROXEN_DISK": "nvme",
        "PROXEN_NIC": "e1000e",
        "PROXEN_CPUS": "",
        "PROXEN_MEMORY": "8G",
    }
    assert chosen(words) == {"disk_bus": "nvme", "nic": "e1000e", "memory": "8G"}
    assert chosen({"PROXEN_CPUS": "16"}) == {"cpus": 16}


@pytest.mark.parametrize(
    ("variable", "word", "sentence"),
    [
        ("PROXEN_DISK", "floppy", "DISK is 'floppy'; it can be virtio, ahci, nvme, usb, scsi"),
        ("PROXEN_NIC", "ne2k", "NIC is 'ne2k'; it can be virtio, e1000, e1000e, rtl8139, igb"),
        ("PROXEN_CPUS", "0", "CPUS is '0'; take a number from 1 to 255"),
        ("PROXEN_CPUS", "many", "CPUS is 'many'; take a number from 1 to 255"),
        ("PROXEN_MEMORY", "512M", "MEMORY is '512M'; take 1280M or more, as in 1536M or 8G"),
        ("PROXEN_MEMORY", "lots", "MEMORY is 'lots'; take 1280M or more, as in 1536M or 8G"),
    ],
)
def test_hardware_that_there_is_not(variable, word, sentence):
    with pytest.raises(SystemExit) as refused:
        chosen({variable: word})
    assert str(refused.value) == f"proxen: {sentence}"


def test_a_device_that_this_qemu_lacks_is_named(monkeypatch):
    monkeypatch.setattr(hardware, "has_device", lambda name: name != "igb")
    with pytest.raises(SystemExit, match="this QEMU has no igb"):
        chosen({"PROXEN_NIC": "igb"})


def test_ports_listen_on_localhost_and_are_picked_freely():
    assert "hostfwd=tcp:127.0.0.1:0-" in _line()
    assert "hostfwd" not in _line(nic=None)


@pytest.mark.parametrize(("bus", "device"), DISKS.items())
def test_disks_keep_their_order(bus, device):
    line = _line(disk_bus=bus, disks=(Disk(Path("/a")), Disk(Path("/b"), scratch=False)))
    assert f"{device},drive=disk0" in line
    assert line.index("file=disk0,format=raw,snapshot=on") < line.index(
        "file=disk1,format=raw,snapshot=off"
    )


def test_milestone_is_the_last_one_of_the_log():
    assert "not one character" in last_milestone("")
    assert (
        last_milestone("[    0.0] Linux version 6.1\nRun /init as init process") == "dom0's ramdisk"
    )
    assert (
        last_milestone("proxen: a\nLinux version\nproxen: xenstored up\n")
        == '"proxen: xenstored up"'
    )


def test_a_lost_machine_is_noticed():
    assert (
        fatal_line("[ 7.0] Kernel panic - not syncing: x\nmore")
        == "[ 7.0] Kernel panic - not syncing: x"
    )
    assert fatal_line("all is well") is None


def test_qemu_that_cannot_start_says_why():
    machine = Machine(Config(name="test-broken", kernel=Path("/no/such/kernel")))
    with pytest.raises(MachineFailure, match="no/such/kernel"):
        machine.start()
    machine.stop()


def test_a_boot_that_stops_names_its_last_milestone_and_keeps_traces():
    image = build_image()
    config = Config(name="test-stuck", kernel=image.vmlinuz, kernel_args="console=ttyS0", nic=None)
    failure = pytest.raises(MachineFailure, match="Unable to mount root fs.*last milestone")
    with failure, Machine(config) as machine:
        machine.wait_for("proxen: dom0 ready", PATIENCE_S)
    assert "RIP=" in (machine.folder / "registers").read_text()
    assert "Unable to mount root" in (machine.folder / "serial.log").read_text()


ORPHAN = """
import time
from tools.qemu import hardware
from tools.qemu.hardware import DISKS, chosen
from tools.qemu.config import Config
from tools.qemu.machine import Machine
from tools.setup.paths import VMLINUZ
machine = Machine(Config(name="test-orphan", kernel=VMLINUZ, nic=None, extra=("-S",)))
machine.start()
print((machine.folder / "pid").read_text(), flush=True)
time.sleep(3600)
"""


def test_qemu_ends_with_the_process_that_started_it():
    build_image()
    command = [sys.executable, "-c", ORPHAN]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        qemu = Path("/proc") / parent.stdout.readline().strip()
        assert b"qemu-system" in (qemu / "cmdline").read_bytes()
        parent.kill()
    end = time.monotonic() + PATIENCE_S
    while (qemu / "cmdline").exists() and (qemu / "cmdline").read_bytes():
        assert time.monotonic() < end, "QEMU outlived its parent"
        time.sleep(0.1)
