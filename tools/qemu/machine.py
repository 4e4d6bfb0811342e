"""A QEMU machine: started, watched, talked to and ended; its traces stay in build/run/<name>-<n>/.

Folder: `command` (to paste into a shell), links to what it boots from, `serial.log`, `qemu.log`,
after a failure `failure` and `registers`, and `cpus` where it went silent. QEMU ends with this
process, except a detached one (`make up`), which tools.run.current finds again.
"""

import contextlib
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

from qemu.qmp import QMPError

from tools.qemu.accelerator import accelerator
from tools.qemu.config import XEND_PORT, Config, command_line, files
from tools.qemu.cpus import what_cpus_do
from tools.qemu.faults import worked_around
from tools.qemu.milestones import NMI_ANSWERED, fatal_line, last_milestone, report_is_whole
from tools.qemu.monitor import Monitor
from tools.qemu.serial import Serial, SerialTimeout
from tools.qemu.shell import Shell
from tools.setup.paths import CORE, RUNS, VMLINUZ
from tools.setup.patience import PATIENCE_S

REPORT_S = 60  # for the rest of a report; the core may be beyond making it whole
NMI_S = 20  # for the core's answer to an NMI; it may be beyond answering
END_S = 5  # from QEMU's promise to end to our making it
KEPT_RUNS = 20


class MachineFailure(Exception):
    """The machine died, hung or never came up; it names the last milestone and the folder."""


# What comes of a QEMU that does not answer, or has gone.
LOST = (MachineFailure, QMPError, EOFError, OSError, TimeoutError)


class Machine:
    """One virtual machine. Use as a context manager, or call `start` and `stop`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.folder = _new_folder(config.name)
        self.serial = Serial(self.folder, self._check)
        self.shell = Shell(self.serial)
        self.started_at = 0.0
        self._process: subprocess.Popen | None = None
        self._monitor: Monitor | None = None
        self._checked = 0  # how much of the log was searched for a crash

    def __enter__(self) -> "Machine":
        self.start()
        return self

    def __exit__(self, kind, error, _) -> None:
        if isinstance(error, Exception):
            self.keep_traces(str(error))
        self.stop()

    def start(self) -> None:
        """Start QEMU and connect to it."""
        accelerator = self._accelerator()
        command = command_line(worked_around(self.config, accelerator), accelerator)
        for name, path in files(self.config).items():
            if not path.exists():
                raise self.failure(f"there is no {path}")
            (self.folder / name).symlink_to(path)
        folder = shlex.quote(str(self.folder))
        (self.folder / "command").write_text(f"cd {folder}\n{shlex.join(command)}\n")
        if not self.config.detached:
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        self.serial.make_files()
        if self.config.medium is not None:
            self.config.medium.prepare(self.folder)
        with (self.folder / "qemu.log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=self.config.detached,
            )
        (self.folder / "pid").write_text(str(self._process.pid))
        self.started_at = time.monotonic()
        self._monitor = self._connect()

    @property
    def monitor(self) -> Monitor:
        """The control channel."""
        if self._monitor is None:
            raise MachineFailure(f"{self.config.name} is not running")
        return self._monitor

    def wait_for(self, pattern: str, timeout: float, since: int | None = None) -> re.Match[str]:
        """Wait for a line on the serial console.

        Errors: MachineFailure, it did not come within `timeout` seconds, or the machine is lost.
        """
        try:
            return self.serial.wait_for(pattern, timeout, since)
        except SerialTimeout as error:
            raise self.stalled(str(error)) from error

    def alive(self) -> bool:
        """Tell whether the guest still runs and has not said that it is lost."""
        if self._monitor is None or self._process.poll() is not None:
            return False
        return self.monitor.status() == "running" and fatal_line(self.serial.text()) is None

    def port(self, guest_port: int = XEND_PORT) -> int:
        """Return the port on 127.0.0.1 that leads to a port of dom0."""
        return forwarded_port(self.monitor, guest_port)

    def leave(self) -> None:
        """Let go of a detached machine, which goes on without us."""
        self.monitor.close()
        self._monitor = None

    def stop(self) -> None:
        """End the machine now; dom0 is not asked."""
        if self._monitor is not None:
            self._monitor.quit()
            self._monitor = None
        if self._process is not None:
            _end(self._process)

    def keep_traces(self, reason: str) -> None:
        """Record why the machine failed, its state and its registers, while it is still there."""
        state = [reason, "", f"last milestone: {last_milestone(self.serial.text())}"]
        with contextlib.suppress(*LOST):
            state.append(f"status: {self.monitor.status()}")
            (self.folder / "registers").write_text(self.monitor.human("info registers -a"))
        (self.folder / "failure").write_text("\n".join(state) + "\n")

    def failure(self, reason: str) -> MachineFailure:
        """Return the error that says what went wrong, how far it came, and its last lines."""
        log = self.serial.text()
        tail = "\n".join(f"  | {line}" for line in log.splitlines()[-15:])
        return MachineFailure(
            f"{reason}; last milestone: {last_milestone(log)}; traces: {self.folder}\n{tail}"
        )

    def stalled(self, reason: str) -> MachineFailure:
        """Return the error for a machine that says nothing more: what its processors do is in it,
        and in the file `cpus`; then the core is asked for its own view, which the log shows.
        """
        failure = self.failure(reason)
        doing = []
        with contextlib.suppress(*LOST, SerialTimeout):
            doing = what_cpus_do(self.monitor, self.config)
            if self.config.hypervisor == CORE:
                since = self.serial.position()
                self.monitor.execute("inject-nmi")
                self.serial.wait_for(NMI_ANSWERED, NMI_S, since)
        text = "\n".join(doing) or "QEMU does not say what the processors do"
        (self.folder / "cpus").write_text(text + "\n")
        return MachineFailure(f"{failure}\n{text}")

    def _accelerator(self) -> str:
        if self.config.icount:  # instruction counting exists only there
            return "tcg"
        return accelerator(VMLINUZ, self.config.cpu) if VMLINUZ.exists() else "tcg"

    def _connect(self) -> Monitor:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            self._check()
            if (self.folder / "qmp.sock").exists():
                with contextlib.suppress(OSError, QMPError, EOFError):
                    return Monitor(self.folder)
            time.sleep(0.05)
        raise self.failure(f"QEMU did not answer within {PATIENCE_S} s")

    def _check(self) -> None:
        """Raise MachineFailure if the guest or QEMU is beyond hope."""
        if self._process is not None and self._process.poll() is not None:
            last = (self.folder / "qemu.log").read_text().strip().splitlines()[-1:]
            raise self.failure(f"QEMU ended with {self._process.returncode} {''.join(last)}")
        size = self.serial.position()
        if size == self._checked:
            return
        self._checked = size
        if fatal_line(self.serial.text()):
            self._wait_for_report()
            # Read once more: the first look may have come before the end of the line.
            raise self.failure(f"the machine is lost: {fatal_line(self.serial.text())}")

    def _wait_for_report(self) -> None:
        """Let the rest of a crash report reach the log."""
        end = time.monotonic() + REPORT_S
        time.sleep(0.5)
        while not report_is_whole(self.serial.text()) and time.monotonic() < end:
            time.sleep(0.1)


def forwarded_port(monitor: Monitor, guest_port: int) -> int:
    """Return the port on 127.0.0.1 that QEMU picked for a port of dom0."""
    table = monitor.human("info usernet")
    found = re.search(
        rf"HOST_FORWARD\S*\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+{guest_port}\b", table
    )
    if found is None:
        raise MachineFailure(f"no port is forwarded to dom0's {guest_port}:\n{table}")
    return int(found[1])


def _new_folder(name: str) -> Path:
    """Make the next run folder of this name, and drop the oldest ones."""
    RUNS.mkdir(parents=True, exist_ok=True)
    pattern = re.compile(re.escape(name) + r"-(\d+)")
    numbers = sorted(int(m[1]) for path in RUNS.iterdir() if (m := pattern.fullmatch(path.name)))
    for old in numbers[:-KEPT_RUNS]:
        shutil.rmtree(RUNS / f"{name}-{old}", ignore_errors=True)
    number = numbers[-1] + 1 if numbers else 1
    while True:
        folder = RUNS / f"{name}-{number}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
        number += 1


def _end(process: subprocess.Popen) -> None:
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(PATIENCE_S)
