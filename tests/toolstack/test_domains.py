"""Real domains, made by xend in a booted dom0: tiny guests and a stock Linux with disk and network.

With PROXEN_HV=xen the same tests run on real Xen 4.17.
"""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from xm.client import Client, XendError

from tests.toolstack import tiny_guest
from tests.toolstack.guest_console import GuestConsole
from tools.image.userspace import user_space
from tools.setup.patience import PATIENCE_S

XM = Path(__file__).parents[2] / "xm"
LINUX = {
    "kernel": "/opt/proxen/guests/vmlinuz",
    "ramdisk": "/opt/proxen/guests/initramfs",
    "memory": 128,
    "vcpus": 2,
}
WALK = """
import asyncio
from xen.xenstore import Xenstore
async def walk(store, path):
    print(path or "/", await store.read(path or "/"))
    for name in await store.directory(path or "/"):
        await walk(store, path + "/" + name)
async def main():
    await walk(await Xenstore.connect(), "")
asyncio.run(main())
"""


@pytest.fixture
def client(host):
    client = Client(f"http://127.0.0.1:{host.port()}")
    yield client
    for domain in client.get("/domains")["domains"]:
        if domain["id"]:
            client.delete(f"/domains/{domain['id']}")


@pytest.fixture
def upload(client, tmp_path):
    """Returns a function that gives xend some bytes."""

    def upload(data):
        path = tmp_path / hashlib.md5(data).hexdigest()
        path.write_bytes(data)
        return client.upload(str(path), print)

    return upload


def xm(client, *arguments):
    """Run xm; returns (exit code, output, errors)."""
    done = subprocess.run(
        [sys.executable, XM, *arguments],
        env={**os.environ, "PROXEN_URL": client.url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    return done.returncode, done.stdout, done.stderr


def xenstore(dom0):
    """Return all nodes of dom0's xenstore."""
    dom0.put("/tmp/walk.py", WALK.encode())
    return dom0.check("PYTHONPATH=/opt/proxen python3 /tmp/walk.py")


def test_tiny_guest_prints_and_its_exit_code_arrives(client, tmp_path):
    (tmp_path / "hello.elf").write_bytes(tiny_guest.build(tiny_guest.HELLO))
    cfg = tmp_path / "hello.cfg"
    cfg.write_text('name = "hello"\nkernel = "hello.elf"\nmemory = 8\n')
    assert xm(client, "run", str(cfg)) == (42, "hello from a tiny guest\n", "")
    assert "hello from a tiny guest" in xm(client, "log", "hello")[1]


def test_crash_is_reported_with_registers_and_names(client, upload):
    config = {"name": "crash", "kernel": upload(tiny_guest.link(tiny_guest.CRASH_PARTS))}
    client.post("/domains", {**config, "memory": 8})
    assert "crash, exit code 6" in xm(client, "console", "crash")[2]
    domain = client.get("/domains/crash")
    assert domain["exit"] == {"reason": "crash", "code": 6}
    (vcpu,) = domain["crash"]["vcpus"]
    assert vcpu["registers"]["rax"] == "0x1234"
    assert [frame["symbol"] for frame in vcpu["backtrace"]] == ["inner", "outer", "_start"]


def test_pause_stops_a_spinning_guest(client, upload):
    kernel = upload(tiny_guest.build(tiny_guest.SPIN))
    client.post("/domains", {"name": "spin", "kernel": kernel, "memory": 8})
    client.post("/domains/spin/actions/pause")
    first = client.get("/domains/spin")
    second = client.get("/domains/spin")
    assert first["state"] == "paused" and first["cpu_time_s"] == second["cpu_time_s"]
    client.post("/domains/spin/actions/unpause")
    assert client.get("/domains/spin")["state"] in ("running", "blocked")


def test_create_and_destroy_leave_nothing(client, dom0, upload):
    kernel = upload(tiny_guest.build(tiny_guest.SPIN))
    config = {"name": "brief", "kernel": kernel, "memory": 8}
    client.post("/domains", config)
    client.delete("/domains/brief")
    frames, nodes = client.get("/host")["free_pages"], xenstore(dom0)
    for _ in range(50):
        client.post("/domains", config)
        client.delete("/domains/brief")
    assert client.get("/host")["free_pages"] == frames
    assert xenstore(dom0) == nodes


BAD_INPUT = (
    ({"kernel": "/no/kernel"}, "does not exist"),
    ({"kernel": "/etc/passwd"}, "not a kernel"),
    ({"kernel": "32-bit"}, "32-bit"),
    ({"memory": 1}, "too little memory"),
    ({"memory": 1 << 19}, "of the machine are free"),
    ({"memroy": 8}, "Did you mean 'memory'"),
    ({"name": "taken"}, "exists already"),
    ({"disks": [{"target": "/dev/vda", "vdev": "xvda"}]}, "is busy"),
)


def test_bad_input_is_one_sentence_and_changes_nothing(client, dom0, upload):
    kernel = upload(tiny_guest.build(tiny_guest.SPIN))
    client.post("/domains", {"name": "taken", "kernel": kernel, "memory": 8})
    small = upload(tiny_guest.build("nop", elf_class=1))
    config = {"name": "bad", "kernel": kernel, "ramdisk": LINUX["ramdisk"], "memory": 64}
    frames, nodes = client.get("/host")["free_pages"], xenstore(dom0)
    for changes, words in BAD_INPUT:
        if changes.get("kernel") == "32-bit":
            changes = {"kernel": small}
        with pytest.raises(XendError, match=words) as caught:
            client.post("/domains", {**config, **changes})
        assert "\n" not in str(caught.value)
        assert client.get("/host")["free_pages"] == frames
    assert xenstore(dom0) == nodes


def test_xend_restarts_without_its_domains_noticing(client, dom0, upload):
    kernel = upload(tiny_guest.build(tiny_guest.SPIN))
    client.post("/domains", {"name": "survivor", "kernel": kernel, "memory": 8})
    before = client.get("/domains/survivor")
    dom0.check(
        "kill $(cat /run/proxen/xend.pid); . /etc/proxen/lib; start_daemons xend",
        PATIENCE_S,
    )
    after = client.get("/domains/survivor")
    assert (after["id"], after["uuid"]) == (before["id"], before["uuid"])
    assert "spinning" in client.text("/domains/survivor/console")
    client.delete("/domains/survivor")


def test_stock_linux_with_disk_and_network(client, dom0, upload, tmp_path):
    folder = tmp_path / "content"
    folder.mkdir()
    (folder / "file.txt").write_text("text on an ext4 disk\n")
    image = tmp_path / "disk.img"
    user_space().run("mke2fs", "-q", "-t", "ext4", "-d", str(folder), str(image), "8M")
    config = {
        **LINUX,
        "name": "linux",
        "cmdline": "console=hvc0 address=10.0.100.2/24",
        "disks": [{"target": upload(image.read_bytes()), "vdev": "xvda"}],
        "vifs": [{"bridge": "xenbr0"}],
    }
    client.post("/domains", config)
    console = GuestConsole(client, "linux")
    try:
        console.wait_for("domU user space")
    except AssertionError:
        print(xm(client, "show", "linux")[1])
        raise
    console.wait_for("domU# ")
    assert "2" in console.check("nproc").split()
    use_disk(console, client, tmp_path)
    fetch_file(console, dom0)
    assert xm(client, "shutdown", "-w", "linux") == (0, "", "")
    console.close()
    assert client.get("/domains/linux")["exit"] == {"reason": "poweroff", "code": 0}


def use_disk(console, client, tmp_path):
    """Mount the disk, read what we wrote and write what we then read from the image."""
    output = console.check("mount /dev/xvda /mnt && cat /mnt/file.txt")
    assert "text on an ext4 disk" in output
    console.check("echo written in the guest >/mnt/new && umount /mnt")
    copy = tmp_path / "copy.img"
    copy.write_bytes(client.request("GET", "/domains/linux/disks/xvda").read())
    said, _ = user_space().run("debugfs", "-R", "cat new", str(copy))
    assert said == "written in the guest\n"


def fetch_file(console, dom0):
    """Fetch 10 MiB from dom0 over the network and compare checksums."""
    dom0.check("mkdir -p /tmp/www && dd if=/dev/urandom of=/tmp/www/big bs=1M count=10 2>/dev/null")
    dom0.check("busybox httpd -p 10.0.100.1:8080 -h /tmp/www")
    digest = dom0.check("md5sum /tmp/www/big").split()[0]
    output = console.check("wget -q -O - http://10.0.100.1:8080/big | md5sum")
    assert re.search(r"[0-9a-f]{32}", output)[0] == digest


def test_four_domains_share_two_processors(client, dom0, upload):
    """Two kernels that never rest, a stock Linux and dom0: each makes progress."""
    kernel = upload(tiny_guest.build(tiny_guest.SPIN))
    for name in ("spin1", "spin2"):
        client.post("/domains", {"name": name, "kernel": kernel, "memory": 8})
    client.post("/domains", {**LINUX, "name": "linux", "cmdline": "console=hvc0"})
    console = GuestConsole(client, "linux")
    console.wait_for("domU# ")
    before = cpu_times(client)
    assert console.check("seq 2000 | wc -l").strip().endswith("2000")
    assert dom0.check("seq 2000 | wc -l").strip() == "2000"
    after = cpu_times(client)
    console.close()
    assert {name for name in after if after[name] > before[name]} == {
        "Domain-0",
        "spin1",
        "spin2",
        "linux",
    }


def cpu_times(client):
    """Return the seconds of processor time that each domain has had."""
    return {d["name"]: d["cpu_time_s"] for d in client.get("/domains")["domains"]}
