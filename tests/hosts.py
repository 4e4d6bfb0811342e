"""The machine that tests share: dom0 with its own two disks and, as /dev/vdc, the example's."""

import socket
import time

from tools.qemu.config import Disk
from tools.qemu.hosts import READY, dom0_machine
from tools.qemu.machine import Machine
from tools.qemu.repeatable import seeded
from tools.run.example import make_disk
from tools.setup.paths import BUILD
from tools.setup.patience import PATIENCE_S

DISK = BUILD / "test/disk.img"


class Host:
    """Keeps one machine with dom0 booted, for as many tests as can use it."""

    def __init__(self, kind: str, seed: int) -> None:
        self.kind, self.seed = kind, seed
        self._machine: Machine | None = None

    def machine(self) -> Machine:
        """Return the machine, booted now if there is none or the last one was lost."""
        if self._machine is not None and not self._machine.alive():
            self.stop()
        if self._machine is None:
            make_disk(DISK)
            disks = (Disk(DISK, scratch=False),)
            self._machine = boot(self.kind, f"test-{self.kind}", self.seed, disks=disks)
        return self._machine

    def stop(self) -> None:
        """End the machine."""
        if self._machine is not None:
            self._machine.stop()
            self._machine = None


def boot(kind: str, name: str, seed: int | None = None, **changes) -> Machine:
    """Boot dom0 on a kind of host, up to the end of its start; the caller stops it."""
    config = dom0_machine(kind, name, **changes)
    machine = Machine(config if seed is None else seeded(config, seed))
    try:
        machine.start()
        machine.wait_for(READY, PATIENCE_S)
    except Exception as error:
        machine.keep_traces(str(error))
        machine.stop()
        raise
    return machine


def connects(port: int, timeout: float = PATIENCE_S) -> bool:
    """Tell whether something takes a connection on a local port within `timeout` seconds."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout).close()
            return True
        except OSError:
            time.sleep(0.1)
    return False
