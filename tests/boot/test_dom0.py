"""dom0 boots: stock Linux, its processors, its drivers, its place in the network."""

import hashlib
import json
import re
from urllib.request import urlopen

import pytest

from tests.hosts import boot, connects
from tools.qemu.hosts import XENS, default_kind
from tools.setup.paths import VMLINUZ
from tools.setup.patience import PATIENCE_S

MACHINE_MIB, DOM0_MIB = 3072, 1024
PAGES_PER_MIB = 256
REAL_XEN_MIB = 33.7  # measured, see the reference figures

XEN_ONLY = pytest.mark.skipif(default_kind() == "linux", reason="needs a hypervisor")


def test_user_space_is_reached(host):
    host.wait_for(r"^proxen: dom0 user space", 1)


def test_kernel_is_debians(dom0):
    assert "Debian" in dom0.check("cat /proc/version")
    digest = hashlib.md5(VMLINUZ.read_bytes()).hexdigest()
    assert digest in dom0.check("md5sum /opt/proxen/guests/vmlinuz")


def test_two_processors(dom0):
    assert dom0.check("nproc").strip() == "2"


@XEN_ONLY
def test_it_is_the_control_domain(dom0):
    assert "control_d" in dom0.check("cat /proc/xen/capabilities")
    devices = dom0.check("ls /dev/xen").split()
    assert {"evtchn", "gntdev", "gntalloc", "privcmd", "xenbus", "xenbus_backend"} <= set(devices)


@XEN_ONLY
def test_its_kernel_complains_of_no_hypercall(dom0):
    messages = dom0.check("dmesg")
    assert "/dev/mcelog registered by Xen" in messages
    assert not re.search(r"xen_mcelog: Failed|_PDC .* failed", messages)


@XEN_ONLY
def test_the_core_needs_no_more_memory_than_real_xen(xend_url):
    """All that is neither dom0's nor free: image, tables, stacks, and what no RAM backs."""
    with urlopen(f"{xend_url}/api/v1/host", timeout=PATIENCE_S) as answer:
        free_mib = json.load(answer)["free_pages"] / PAGES_PER_MIB
    assert MACHINE_MIB - DOM0_MIB - free_mib <= REAL_XEN_MIB + 0.1


def test_disk_and_network_interrupts_arrive(dom0):
    dom0.check("dd if=/dev/vda of=/dev/null bs=1M count=4 iflag=direct")
    dom0.check("ping -c 1 -W 600 10.0.2.2")
    interrupts = dom0.check("cat /proc/interrupts")
    for device in (r"virtio\d+-req", r"virtio\d+-input"):
        lines = re.findall(rf"^ *\d+:(.*){device}.*$", interrupts, re.MULTILINE)
        counts = [int(count) for line in lines for count in line.split()[:2]]
        assert sum(counts) > 0, f"no interrupt of {device}:\n{interrupts}"


def test_a_loop_mounted_image_can_be_made(dom0):
    dom0.check("truncate -s 8M /tmp/disk && mkfs.ext4 -q /tmp/disk && mount -o loop /tmp/disk /mnt")
    dom0.check("echo hello >/mnt/file && umount /mnt && rm /tmp/disk")


def test_files_cross_the_console_shell(dom0):
    data = bytes(range(256)) * 40
    dom0.put("/tmp/data", data)
    assert hashlib.md5(data).hexdigest() in dom0.check("md5sum /tmp/data")


def test_a_port_of_dom0_is_reachable(host, dom0):
    dom0.check("nc -l -p 8000 >/tmp/heard &" if not _xend_runs(dom0) else "true")
    assert connects(host.port())


def _xend_runs(dom0) -> bool:
    return dom0.run("grep -q ':1F40 00000000:0000 0A' /proc/net/tcp").status == 0


@pytest.mark.real_xen
@pytest.mark.slow
@pytest.mark.skipif(default_kind() in XENS, reason="the other tests ran there")
def test_the_same_image_boots_on_real_xen():
    machine = boot("xen", "test-real-xen")
    try:
        assert "4" in machine.shell.check("cat /sys/hypervisor/version/major")
    finally:
        machine.stop()
