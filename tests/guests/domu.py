"""Run test kernels as domains of a machine that has dom0 up."""

import json
import time
from pathlib import Path

from xm.client import Client, XendError, domain_path
from xm.websocket import TEXT, WebSocket

from tools.setup.paths import BUILD

POLL_S = 0.2
GIVE_BACK_S = 60  # a leak makes many tests fail: none of them waits for long
SECTOR_BYTES = 512


class Domains:
    """Creates domains through xend, and knows when all is as it was."""

    def __init__(self, machine) -> None:
        self.client = Client(f"http://127.0.0.1:{machine.port()}")

    def create(self, name: str, kernel: str, **config) -> dict:
        reference = self.upload(BUILD / f"{kernel}.elf")
        return self.client.post("/domains", {"name": name, "kernel": reference, **config})

    def upload(self, path: Path) -> str:
        return self.client.upload(str(path), print)

    def console(self, name: str) -> str:
        return self.client.text(domain_path(name, "/console"))

    def talk(self, name: str, typed: bytes, timeout: float) -> tuple[bytes, dict | None]:
        """Type at a domain's console until it ends; return what it printed and its exit."""
        path = "/api/v1" + domain_path(name, "/console/stream")
        stream = WebSocket(self.client.host, self.client.port, path, timeout)
        stream.socket.settimeout(timeout)
        stream.send(typed)
        printed = b""
        try:
            while (message := stream.receive()) is not None:
                kind, data = message
                if kind == TEXT:
                    return printed, json.loads(data)["exit"]
                printed += data
        except TimeoutError:
            pass
        finally:
            stream.close()
        return printed, None

    def wait_end(self, name: str, timeout: float) -> dict | None:
        """Return how the domain ended; None when it still runs after `timeout` seconds."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            record = self.client.get(domain_path(name))
            if record["exit"] is not None:
                return record
            time.sleep(POLL_S)
        return None

    def destroy(self, name: str) -> None:
        """End a domain if it still runs, and forget it."""
        for _ in range(2):
            try:
                self.client.delete(domain_path(name))
            except XendError:
                return

    def free_pages(self, at_least: int = 0, timeout: float = GIVE_BACK_S) -> int:
        """Return the machine's free pages, waiting for what is on its way back."""
        end = time.monotonic() + timeout
        while True:
            free = self.client.get("/host")["free_pages"]
            if free >= at_least or time.monotonic() > end:
                return free
            time.sleep(POLL_S)


def disk_image(path: Path, text: bytes, sectors: int = 128) -> Path:
    """Write a disk that holds a tar archive with one file."""
    import io
    import tarfile

    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo("hello.txt")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    path.write_bytes(archive.getvalue().ljust(sectors * SECTOR_BYTES, b"\0"))
    return path
