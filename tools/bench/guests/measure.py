"""Runs in dom0: makes domains through xend, as xm would, and prints what they take and say.

`measure.py create|disk|network`. All times are dom0's own, which on the counting machine are
instructions; `time NAME NS` is the form of its own lines, all others are the guests'.
"""

import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from xm.client import Client, domain_path
from xm.websocket import TEXT, WebSocket

FOLDER = Path(__file__).parent
DISK = FOLDER / "disk.img"
DISK_BYTES = 24 << 20
BIG = FOLDER / "big"
DOWNLOAD_BYTES, UPLOAD_BYTES = 32 << 20, 16 << 20  # the Linux domU has little memory for files
DOM0, GUEST = "10.0.100.1", "10.0.100.9"
HTTP_PORT = 8080
TOY_CREATIONS = 5
REST_S = 0.5  # between two creations, as between two commands of a person: hypervisors tidy up then
TOY = {"kernel": str(FOLDER / "bench_devices.elf"), "memory": 32}
LINUX = {
    "kernel": "/opt/proxen/guests/vmlinuz",
    "ramdisk": str(FOLDER / "initramfs"),
    "memory": 128,
}

client = Client("http://127.0.0.1:8000")


class Console:
    """What a domain prints, from its first character on."""

    def __init__(self, name):
        path = "/api/v1" + domain_path(name, "/console/stream")
        self.stream = WebSocket(client.host, client.port, path)
        self.text = b""

    def until(self, wanted):
        """Read until a text was there, or to the domain's end; returns all so far."""
        while wanted not in self.text and (message := self.stream.receive()) is not None:
            kind, data = message
            if kind == TEXT:  # xend says how the domain ended
                break
            self.text += data
        return self.text.decode(errors="replace").replace("\r", "")


def run(name, config):
    """Run a domain to its end, and print what it said."""
    client.post("/domains", {"name": name, **config})
    print(Console(name).until(b"\0never"), flush=True)
    code = client.get(domain_path(name))["exit"]["code"]
    client.delete(domain_path(name))
    if code:
        sys.exit(f"the domain {name} ended with {code}")


def create():
    """Time the life of a domain: xend's answer, the guest's first line, its end."""
    measure_life("toy", {"kernel": str(FOLDER / "echo.elf"), "memory": 32}, b"\n", TOY_CREATIONS)
    measure_life("linux", {**LINUX, "cmdline": "console=hvc0 quiet"}, b"domU user space", 1)


def measure_life(name, config, first_line, times):
    """Create and destroy a domain some times, and print the medians."""
    created, spoke, gone = [], [], []
    for turn in range(times + 1):  # the first is for warmth: a bzImage is unpacked once
        time.sleep(REST_S)
        start = time.monotonic_ns()
        client.post("/domains", {"name": name, **config})
        answered = time.monotonic_ns()
        Console(name).until(first_line)
        said = time.monotonic_ns()
        client.delete(domain_path(name))
        if turn > 0:
            created.append(answered - start)
            spoke.append(said - start)
            gone.append(time.monotonic_ns() - said)
    print(f"time {name}_create_call {median(created):.0f}")
    print(f"time {name}_create_to_first_line {median(spoke):.0f}")
    print(f"time {name}_destroy {median(gone):.0f}")


def disk():
    """Give a file in dom0's memory to a toy kernel, then to a Linux."""
    DISK.write_bytes(bytes(DISK_BYTES))
    disks = [{"target": str(DISK), "vdev": "xvda", "access": "rw"}]
    run("toy", {**TOY, "disks": disks, "cmdline": "part=disk"})
    run("linux", {**LINUX, "disks": disks, "cmdline": "console=hvc0 quiet part=disk"})


def network():
    """Let a toy kernel, then a Linux, talk to dom0 over its bridge."""
    BIG.write_bytes(bytes(DOWNLOAD_BYTES))
    httpd = ["busybox", "httpd", "-p", f"{DOM0}:{HTTP_PORT}", "-h", str(FOLDER)]
    subprocess.run(httpd, check=True)
    vifs = [{"bridge": "xenbr0"}]
    run("toy", {**TOY, "vifs": vifs, "cmdline": f"part=network peer={DOM0} address={GUEST}"})
    line = f"console=hvc0 quiet part=network address={GUEST}/24"
    client.post("/domains", {"name": "linux", **LINUX, "vifs": vifs, "cmdline": line})
    print(Console("linux").until(b"serving"))
    fetch()
    client.delete(domain_path("linux"))


def fetch():
    """Time how fast the Linux domU sends what dom0 asks for."""
    buffer, received = bytearray(1 << 18), 0
    start = time.monotonic_ns()
    with socket.create_connection((GUEST, HTTP_PORT)) as connection:
        connection.sendall(b"GET /big HTTP/1.0\r\n\r\n")
        while count := connection.recv_into(buffer):
            received += count
    if received < UPLOAD_BYTES:
        sys.exit(f"the Linux domU sent only {received} bytes")
    print(f"stream linux_network_send_stream {received} {time.monotonic_ns() - start}")


if __name__ == "__main__":
    {"create": create, "disk": disk, "network": network}[sys.argv[1]]()
