"""The medium that `make iso` builds boots on every kind of firmware, as a disc and as a stick."""

import hashlib
import json
import urllib.request

import pytest

from tests.unit.screen_text import read_ppm
from tools.iso.boot_tools import uefi
from tools.iso.build import build_iso
from tools.qemu.config import Config
from tools.qemu.machine import Machine
from tools.qemu.medium import Medium
from tools.qemu.serial import INPUT
from tools.setup.patience import PATIENCE_S

NEXT_ENTRY, RETURN = "\x0e", "\r"
MENU = "Rescue: Linux without Proxen"
WITH_SERIAL, RESCUE = 1, 2
LOGIN = r"dom0 login: "
ADDRESS = r"proxen: eth0 has the address \S+"


@pytest.fixture(scope="module")
def iso():
    return build_iso()


def digest(file) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def pc(iso, firmware="bios", bus="cd", chipset="q35", memory="2G", **changes) -> Machine:
    medium = Medium(iso, bus, uefi() if firmware == "uefi" else None, chipset)
    settings = {"name": f"pc-{firmware}-{bus}", "nic": "e1000", "memory": memory}
    return Machine(Config(**(settings | changes), kernel=iso, medium=medium))


def choose(machine, entry: int) -> None:
    """Take an entry of GRUB's menu, by the keys of a serial terminal."""
    machine.wait_for(MENU, PATIENCE_S)
    with (machine.folder / INPUT).open("w") as line:
        line.write(NEXT_ENTRY * entry + RETURN)


def log_in(machine) -> None:
    """Get a shell on the serial line, from the login that shows the address."""
    machine.wait_for(rf"{ADDRESS}[\s\S]*?{LOGIN}", PATIENCE_S)
    since = machine.serial.position()
    machine.serial.write("root\n")
    machine.wait_for("dom0# ", PATIENCE_S, since)


def screen_of(machine) -> list[str]:
    """Return the lines on the screen, in the core's own font."""
    picture = machine.folder / "screen.ppm"
    machine.monitor.execute("screendump", filename=str(picture))
    return [line.rstrip() for line in read_ppm(picture)]


def host_of(machine) -> dict:
    """Ask xend, over the network, for its host."""
    url = f"http://127.0.0.1:{machine.port()}/api/v1/host"
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def boots_whole(machine) -> None:
    """Boot Proxen and dom0, to a login on the serial line and an answer over the network."""
    machine.wait_for("proxen: domain 0 starts", PATIENCE_S)
    machine.wait_for("proxen: xend listening on 8000", PATIENCE_S)
    log_in(machine)
    assert host_of(machine)["cpus"] == 2


def test_equal_inputs_give_equal_bytes(iso):
    before = digest(iso)
    iso.with_suffix(".stamp").unlink()
    assert digest(build_iso()) == before


@pytest.mark.boot
@pytest.mark.slow
def test_a_stick_boots_by_uefi(iso):
    """What the core says is on the screen, too, until domain 0's kernel takes that."""
    with pc(iso, "uefi", "usb") as machine:
        choose(machine, WITH_SERIAL)
        machine.wait_for("proxen: 2 processors run", PATIENCE_S)
        machine.monitor.execute("stop")
        shown = screen_of(machine)
        machine.monitor.execute("cont")
        assert "proxen: UEFI 2.7" in shown
        assert "proxen: 2 processors run" in shown
        boots_whole(machine)
        assert "EFI v2." in machine.shell.check("dmesg | grep 'efi: EFI'")
        assert machine.shell.check("touch /etc/proxen/written && ls /etc/proxen/written")


SPREAD = [
    ("bios", "cd", "pc", "512M"),
    ("bios", "cd", "q35", "2G"),
    ("bios", "usb", "pc", "2G"),
    ("bios", "usb", "q35", "16G"),
    ("bios", "disk", "q35", "1G"),
    ("uefi", "cd", "pc", "2G"),
    ("uefi", "cd", "q35", "512M"),
    ("uefi", "usb", "pc", "16G"),
    ("uefi", "disk", "q35", "4G"),
]


@pytest.mark.boot
@pytest.mark.long
@pytest.mark.parametrize(("firmware", "bus", "chipset", "memory"), SPREAD)
def test_it_boots_everywhere(iso, firmware, bus, chipset, memory):
    with pc(iso, firmware, bus, chipset, memory) as machine:
        choose(machine, WITH_SERIAL)
        boots_whole(machine)


@pytest.mark.boot
@pytest.mark.long
@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_rescue_is_a_linux_without_proxen(iso, firmware):
    with pc(iso, firmware) as machine:
        choose(machine, RESCUE)
        machine.wait_for("proxen: no hypervisor, no toolstack", PATIENCE_S)
