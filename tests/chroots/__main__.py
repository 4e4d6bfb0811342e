"""`make test-hosts`: try the commands of README.md on several hosts, as root and as another user.

    make test-hosts                                  all of it, which takes hours
    make test-hosts HOSTS='trixie sid' WHAT='run'    some of it
    make test-hosts WHAT='run offline doctor' USERS='user'
    make test-hosts HOSTS=bookworm PINS=oldest       with the lower end of each range of packages

A user who is not root runs into what is missing, and root then runs the line that this user was
told. `offline` is `make run` once more without a network. Logs are in build/hosts/logs.
"""

import argparse
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass

from tests.chroots.chroot import USERS, Chroot
from tests.chroots.hosts import FOLDER, HOSTS, make
from tools.setup.progress import say, step

LOGS = FOLDER / "logs"
COMMANDS = {
    "run": "make run",
    "offline": "make run",
    "test": "make test PYTEST_ARGS=-q",
    "doctor": "make doctor",
}
TOLD = re.compile(r"^\s+(sudo apt-get .*)$", re.MULTILINE)
VERSIONS = "python3 -V; qemu-system-x86_64 --version"
ROW = "{:10} {:5} {:8} {:34} {:>6}  {}"


@dataclass(frozen=True)
class Row:
    """What came of a command."""

    host: str
    user: str
    what: str
    result: str
    seconds: float
    versions: str = ""

    def __str__(self) -> str:
        cells = (self.host, self.user, self.what, self.result, f"{self.seconds:.0f} s")
        return ROW.format(*cells, self.versions)


def main(words: list[str]) -> int:
    """Try everything, and print the table.

    Returns: the exit code: 0, all is well.
    """
    options = _options(words)
    _become_root(words)
    LOGS.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in options.hosts:
        make(HOSTS[name])
        for user in options.users:
            rows += try_host(Chroot(HOSTS[name], user), options)
    print(ROW.format("host", "user", "command", "result", "time", "with"))
    print("\n".join(map(str, rows)))
    return int(any(row.result != "ok" for row in rows))


def try_host(chroot: Chroot, options: argparse.Namespace) -> list[Row]:
    """Run the commands in a fresh chroot."""
    rows = []
    with step(f"copy the chroot {chroot.root.name}"):
        chroot.make()
    for what in options.what:
        with step(f"{chroot.root.name}: {COMMANDS[what]} ({what})"):
            rows.append(try_command(chroot, what, options.pins))
        say(str(rows[-1]))
    if not options.keep:
        shutil.rmtree(chroot.root, ignore_errors=True)
    return rows


def try_command(chroot: Chroot, what: str, pins: str | None) -> Row:
    """Run one command; where it tells a user which packages to install, do that and try again."""
    log = LOGS / f"{chroot.root.name}-{what}.log"
    log.unlink(missing_ok=True)
    command = f"PROXEN_PINS={pins} {COMMANDS[what]}" if pins else COMMANDS[what]
    start = time.monotonic()
    network = what != "offline"
    code = chroot.run(command, log, network=network)
    told = TOLD.search(log.read_text()) if code and chroot.user != "root" else None
    if told:
        chroot.run(told[1].replace("sudo ", ""), log, user="root")
        code = chroot.run(command, log, network=network)
    took = time.monotonic() - start
    result = "ok" if code == 0 else f"exit {code}, see {log.relative_to(FOLDER)}"
    return Row(chroot.host.name, chroot.user, what, result, took, _versions(chroot))


def _versions(chroot: Chroot) -> str:
    """Return which Python and QEMU the chroot has now."""
    log = LOGS / f"{chroot.root.name}-versions.log"
    log.unlink(missing_ok=True)
    chroot.run(VERSIONS, log)
    text = log.read_text()
    found = [re.search(r"^Python [\d.]+", text, re.MULTILINE), re.search(r"QEMU .*?[\d.]+", text)]
    return ", ".join(f[0].replace("emulator version ", "") for f in found if f)


def _become_root(words: list[str]) -> None:
    """Go on as root of a user namespace if we are not root."""
    if os.geteuid() != 0:
        command = ["unshare", "--user", "--map-root-user", "--map-auto", sys.executable, "-m"]
        os.execvp(command[0], [*command, "tests.chroots", *words])


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make test-hosts", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--hosts", nargs="+", choices=HOSTS, default=list(HOSTS))
    parser.add_argument("--users", nargs="+", choices=USERS, default=list(USERS))
    parser.add_argument("--what", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--pins", choices=("newest", "oldest"))
    parser.add_argument("--keep", action="store_true", help="leave the chroots where they are")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
