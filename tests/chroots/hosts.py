"""The hosts that are tried: what is in them, and what is taken away from them."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tools.setup.paths import BUILD
from tools.setup.programs import APT, install_line, listing
from tools.setup.progress import fail, step
from tools.setup.stamp import Stamp, fingerprint

FOLDER = BUILD / "hosts"
MIRROR = "http://deb.debian.org/debian"
# What a newcomer has before the first command, as README.md says.
BROUGHT = ("ca-certificates", "git", "make", "python3")
# A mirror near at hand may be some weeks behind.
APT_OPTIONS = ('Acquire::Check-Valid-Until "false"',)
TAKEN_AWAY = ("apt*", "dpkg*", "*gcc*", "ld", "ld.*", "as", "*-linux-gnu-*", "update-alternatives")


@dataclass(frozen=True)
class Host:
    """A release of Debian; `bare`: with all that running needs, without apt, dpkg, gcc and ld."""

    name: str
    suite: str
    bare: bool = False

    @property
    def base(self) -> Path:
        """The folder that each chroot is a copy of."""
        return FOLDER / "base" / self.name

    @property
    def packages(self) -> tuple[str, ...]:
        """What is in it from the start."""
        programs = {p.packages[APT] for p in listing() if p.needed_for == "run"}
        return (*BROUGHT, *sorted(programs)) if self.bare else BROUGHT


HOSTS = {
    host.name: host
    for host in (
        Host("bookworm", "bookworm"),
        Host("trixie", "trixie"),
        Host("sid", "sid"),
        Host("bare", "trixie", bare=True),
    )
}


def make(host: Host) -> None:
    """Have the base of a host, made by mmdebstrap.

    Errors: SystemExit, there is no mmdebstrap, or it failed.
    """
    stamp = Stamp(host.base.with_suffix(".stamp"), host.base)
    digest = fingerprint(" ".join(host.packages), repr(host), *APT_OPTIONS)
    if stamp.fresh(digest):
        return
    if shutil.which("mmdebstrap") is None:
        raise fail(f"there is no mmdebstrap here: {install_line(['mmdebstrap'])}")
    stamp.forget()
    shutil.rmtree(host.base, ignore_errors=True)
    host.base.parent.mkdir(parents=True, exist_ok=True)
    with step(f"make the chroot {host.name}"):
        _debootstrap(host)
        if host.bare:
            _take_away(host.base)
    stamp.record(digest)


def _debootstrap(host: Host) -> None:
    log = host.base.with_suffix(".log")
    command = ["mmdebstrap", "--mode=root", "--variant=minbase"]
    command += [f"--aptopt={option}" for option in APT_OPTIONS]
    command += [f"--include={','.join(host.packages)}", host.suite, str(host.base), MIRROR]
    with log.open("w") as file:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    if done.returncode:
        errors = [line for line in log.read_text().splitlines() if line.startswith("E:")]
        raise fail(f"mmdebstrap {host.suite} failed: {(errors or ['?'])[0]}; see {log}")


def _take_away(base: Path) -> None:
    for pattern in TAKEN_AWAY:
        for program in (base / "usr/bin").glob(pattern):
            program.unlink()
    shutil.rmtree(base / "usr/lib/apt")
    shutil.rmtree(base / "etc/apt")
