"""Sees to the programs of the host: on Debian and its kin installs them for root, tells others the
one line to paste, or where no package manager is known the programs' names.
"""

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tools.setup.logged import LOG_NAME, run
from tools.setup.progress import fail, say, step

LISTING = Path(__file__).with_name("host-programs.txt")
# Some programs are in sbin, which only root has in its path.
SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
MANAGERS_SEARCH = "/usr/bin:/usr/sbin:/bin:/sbin"
APT, DNF = "apt-get", "dnf"
# A container has no lists of packages, and a list of last month names packages that are gone.
INSTALL = {
    APT: "apt-get update && apt-get install -y --no-install-recommends",
    DNF: "dnf install -y",
}


@dataclass(frozen=True)
class Program:
    """A line of the listing."""

    evidence: str
    packages: dict[str, str]  # by package manager
    needed_for: str

    @property
    def name(self) -> str:
        """What to install here: the package, or without a package manager the program."""
        return self.packages.get(manager() or "", self.evidence.removeprefix("module:"))


def manager() -> str | None:
    """Return the package manager of the host, None if it is none that we know."""
    return next((name for name in INSTALL if shutil.which(name, path=MANAGERS_SEARCH)), None)


def listing() -> list[Program]:
    """Return all that the host must bring."""
    lines = (line.split() for line in LISTING.read_text().splitlines() if line[:1] not in ("#", ""))
    return [
        Program(evidence, {APT: debian, DNF: fedora}, needed_for)
        for evidence, debian, fedora, needed_for in lines
    ]


def missing(needed_for: str) -> list[str]:
    """Return the names of what is not there, as the host's package manager knows them."""
    wanted = (program for program in listing() if program.needed_for == needed_for)
    return list(dict.fromkeys(p.name for p in wanted if not _present(p.evidence)))


def install_line(names: list[str]) -> str:
    """Return the line that installs them, or where we know none what to look for."""
    known = manager()
    return f"{INSTALL[known]} {' '.join(names)}" if known else f"install: {' '.join(names)}"


def as_root(line: str) -> str:
    """Return a line with sudo before what only root may do, for others than root."""
    return line if os.geteuid() == 0 else f"sudo {line.replace(' && ', ' && sudo ')}"


def ensure_programs(needed_for: str) -> None:
    """Have what running needs, and for "test" what only tests do if we may install it.

    Errors: SystemExit, something is missing and we may not, or could not, install it.
    """
    lacking = missing("run")
    wished = missing("test") if needed_for == "test" else []
    if not lacking and not wished:
        return
    if os.geteuid() == 0 and manager() == APT:
        _install([*lacking, *wished])
    elif lacking:
        raise fail(_what_to_do(lacking, "are needed"))
    else:
        say(_what_to_do(wished, "are not here, so tests that need them are skipped"))


def _what_to_do(names: list[str], why: str) -> str:
    line = install_line(names)
    if manager() is None:
        return f"programs of the host {why}, and this system's packages are not known; {line}"
    return f"packages of the host {why}; this line installs them:\n\n  {as_root(line)}\n"


def _install(names: list[str]) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with step(f"install Debian packages: {', '.join(names)}"):
        for command in install_line(names).split(" && "):
            if reason := run(command.split(), environment):
                command = " ".join(command.split()[:2])
                mend = "then `make setup` goes on"
                raise fail(f"`{command}` failed: {reason}; see {LOG_NAME}; {mend}")
    importlib.invalidate_caches()
    if left := [*missing("run"), *(n for n in missing("test") if n in names)]:
        raise fail(f"installed, and yet not there: {', '.join(left)}")


def _present(evidence: str) -> bool:
    if evidence.startswith("module:"):
        return importlib.util.find_spec(evidence.removeprefix("module:")) is not None
    return shutil.which(evidence, path=SEARCH) is not None
