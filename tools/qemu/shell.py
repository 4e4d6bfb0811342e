"""Runs commands in dom0 over the shell on its console: needs no network and no toolstack."""

import base64
import itertools
import shlex
from dataclasses import dataclass

from tools.qemu.serial import Serial
from tools.setup.patience import PATIENCE_S

CHUNK = 2000  # a terminal in line mode takes no more than 4,095 characters in a line


@dataclass(frozen=True)
class Result:
    """What a command gave."""

    status: int
    output: str


class Shell:
    """dom0's console shell."""

    def __init__(self, serial: Serial) -> None:
        self._serial = serial
        self._numbers = itertools.count(1)
        self._quiet = False

    def run(self, command: str, timeout: float = PATIENCE_S) -> Result:
        """Run one line of shell.

        Returns: its exit status and its output, standard error included.
        Errors: SerialTimeout, not done within `timeout` seconds.
        """
        if not self._quiet:
            self._quiet = True
            self._ask("dmesg -n 1", PATIENCE_S)
        return self._ask(command, timeout)

    def check(self, command: str, timeout: float = PATIENCE_S) -> str:
        """Run one line of shell that must succeed.

        Returns: its output.
        Errors: RuntimeError with the output, the exit status was not 0.
        """
        result = self.run(command, timeout)
        if result.status:
            raise RuntimeError(f"dom0: `{command}` gave {result.status}:\n{result.output}")
        return result.output

    def put(self, path: str, data: bytes) -> None:
        """Write a file in dom0; fit for scripts and small kernels."""
        text = base64.b64encode(data).decode()
        quoted = shlex.quote(path)
        self.check(f": >{quoted}.b64")
        for start in range(0, len(text), CHUNK):
            self.check(f"echo {text[start : start + CHUNK]} >>{quoted}.b64")
        self.check(f"base64 -d {quoted}.b64 >{quoted} && rm {quoted}.b64")

    def _ask(self, command: str, timeout: float) -> Result:
        """Type a command between two marks.

        The shell puts the marks together, so the terminal's echo of what we type is never one. All
        is one line: what is typed while a command runs would be echoed into its output.
        """
        number = next(self._numbers)
        since = self._serial.position()
        line = f"echo BE''GIN-{number}; eval {shlex.quote(command)}; echo EN''D-{number}-$?-"
        self._serial.write(line + "\n")
        pattern = rf"BEGIN-{number}\n((?:.|\n)*?)END-{number}-(\d+)-"
        found = self._serial.wait_for(pattern, timeout, since)
        return Result(int(found[2]), found[1])
