"""dom0 on machines with other hardware: disks are found by what is on them or by their serial
number, cards and keyboards have their drivers, all processors and all memory are there.

The first machines of the spread hold each kind of device once; the others, below the marker `long`,
hold the rest of the pairs.
"""

import pytest
from xm.client import Client

from tests.hosts import boot
from tests.toolstack import tiny_guest
from tools.qemu.config import Disk, hypervisor_args
from tools.qemu.hardware import NICS, has_device
from tools.qemu.hosts import default_kind
from tools.run.example import TEXT, make_disk
from tools.setup.paths import BUILD
from tools.setup.patience import PATIENCE_S

DISK = BUILD / "test/hardware.img"
DOM0_MIB = 1024
LOW_MIB = 2048  # what q35 has below 4 GiB at most
DRIVERS = {"virtio": "virtio_net", "rtl8139": "8139cp"}  # of other cards: their own names

QUICK = [
    ("nvme", "rtl8139", 1, "2G"),
    ("ahci", "e1000e", 4, "6G"),
    ("usb", "e1000", 2, "3G"),
]
LONG = [
    ("scsi", "e1000e", 16, "64G"),
    ("virtio", "igb", 16, "1536M"),
    ("nvme", "e1000", 8, "16G"),
    ("ahci", "rtl8139", 1, "8G"),
    ("usb", "virtio", 4, "32G"),
    ("scsi", "e1000", 2, "4G"),
    ("nvme", "igb", 3, "5G"),
    ("virtio", "rtl8139", 12, "12G"),
]
MACHINES = [*QUICK, *(pytest.param(*machine, marks=pytest.mark.long) for machine in LONG)]


@pytest.mark.boot
@pytest.mark.slow
@pytest.mark.parametrize(("disk", "nic", "cpus", "memory"), MACHINES)
def test_dom0_finds_its_hardware(disk, nic, cpus, memory):
    if not has_device(NICS[nic]):
        pytest.skip(f"this QEMU has no {nic}")
    make_disk(DISK)
    machine = boot(
        default_kind(),
        f"test-{disk}-{nic}",
        disk_bus=disk,
        nic=nic,
        cpus=cpus,
        memory=memory,
        usb_keyboard=True,
        disks=(Disk(DISK),),
        hypervisor_args=hypervisor_args(default_kind(), cpus),
    )
    try:
        check(machine.shell, nic, cpus)
        if default_kind() != "linux":
            device = machine.shell.check("readlink -f /dev/disk/by-serial/disk2").strip()
            check_memory(Client(f"http://127.0.0.1:{machine.port()}"), memory, device)
    finally:
        machine.stop()


def check(dom0, nic, cpus):
    """Use each device."""
    text = dom0.check("tar -xOf /dev/disk/by-serial/disk2")
    assert text == TEXT.read_text()
    dom0.check("ping -c 1 -W 600 10.0.2.2", PATIENCE_S)
    driver = dom0.check("readlink /sys/class/net/eth0/device/driver").strip()
    assert driver.endswith(f"/{DRIVERS.get(nic, nic)}")
    assert dom0.check("nproc").strip() == str(cpus)
    dom0.check(until("grep -q 'QEMU USB Keyboard' /proc/bus/input/devices"), PATIENCE_S)


def check_memory(client, memory, device):
    """Give a domain more than there is below 4 GiB, or most of what is free; and a disk."""
    free = client.get("/host")["free_memory_mib"]
    assert free > _mib(memory) - DOM0_MIB - _mib(memory) // 50 - 64
    kernel = BUILD / "test/spin.elf"
    kernel.write_bytes(tiny_guest.build(tiny_guest.SPIN))
    size = min(free - 64, LOW_MIB + 512)
    config = {"name": "big", "kernel": client.upload(str(kernel), print), "memory": size}
    client.post("/domains", config | {"disks": [{"target": device, "vdev": "xvda"}]})
    (disk,) = client.get("/domains/big")["config"]["disks"]
    assert disk["target"] == "/dev/disk/by-serial/disk2"
    assert client.get("/domains/big")["memory_mib"] == size
    client.delete("/domains/big")


@pytest.mark.boot
@pytest.mark.long
def test_a_disk_that_is_plugged_in_gets_driver_and_name():
    machine = boot(default_kind(), "test-plug", usb_keyboard=True)
    try:
        machine.monitor.human("drive_add 0 if=none,id=late,file=disk1,format=raw,snapshot=on")
        machine.monitor.human("device_add usb-storage,id=stick,drive=late,serial=late,bus=keys.0")
        disk = "/dev/disk/by-serial/late"
        machine.shell.check(until(f"[ -b {disk} ]"), PATIENCE_S)
        machine.shell.check(f"findfs LABEL=proxen-opt && head -c 4096 {disk} >/dev/null")
        machine.monitor.human("device_del stick")
        machine.shell.check(until(f"[ ! -e {disk} ]"), PATIENCE_S)
    finally:
        machine.stop()


def until(condition):
    """Return a line of shell that waits for a condition."""
    return f"until {condition}; do usleep 100000; done"


def _mib(memory):
    return int(memory[:-1]) << (10 if memory.endswith("G") else 0)
