"""A chroot like a container: its own processes and mounts, the few devices that containers have, a
clone of this tree in a folder with spaces. No KVM, no loop devices, no systemd.
"""

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.chroots.hosts import FOLDER, Host
from tools.setup.paths import ROOT

USERS = {"root": 0, "user": 1000}
HOMES = {"root": Path("/root"), "user": Path("/home/user")}
CLONE = "a folder/with spaces/proxen"
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSED_ON = re.compile(r"PIP_\w+|\w+_(proxy|PROXY)|SSL_CERT_\w+|PROXEN_\w+|DEBIAN_MIRROR")


@dataclass(frozen=True)
class Chroot:
    """A copy of a host's base for one user."""

    host: Host
    user: str

    @property
    def root(self) -> Path:
        """Its folder, seen from here."""
        return FOLDER / f"{self.host.name}-{self.user}"

    @property
    def clone(self) -> Path:
        """The tree, seen from inside."""
        return HOMES[self.user] / CLONE

    def make(self) -> None:
        """Copy the base, and clone the tree's HEAD into it."""
        shutil.rmtree(self.root, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", self.host.base, self.root], check=True)
        for name in ("resolv.conf", "hosts"):
            shutil.copyfile(f"/etc/{name}", self.root / "etc" / name)
        home = self.root / HOMES[self.user].relative_to("/")
        home.mkdir(parents=True, exist_ok=True)
        place = home / CLONE
        subprocess.run(["git", "clone", "-q", ROOT, place], check=True)
        (place / "build/cache/pool").mkdir(parents=True)
        if self.user != "root":
            line = f"user:x:{USERS[self.user]}:{USERS[self.user]}::{HOMES[self.user]}:/bin/sh\n"
            with (self.root / "etc/passwd").open("a") as file:
                file.write(line)
            _give(home, USERS[self.user])

    def run(self, command: str, log: Path, user: str | None = None, network: bool = True) -> int:
        """Run a line of shell in the clone; what it says goes to the end of a log.

        Returns: its exit code.
        """
        user = user or self.user
        number, home = str(USERS[user]), str(HOMES[user])
        words = ["setpriv", "--reuid", number, "--regid", number, "--clear-groups"]
        words += ["env", "-i", *_environment(home), "sh", "-c"]
        words += [f"cd {shlex.quote(str(self.clone))} && {command}"]
        script = "\n".join([*self._mounts(network), f"exec chroot . {shlex.join(words)}"])
        spaces = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
        spaces += [] if network else ["--net"]
        with log.open("a") as file:
            file.write(f"$ {command}\n")
            file.flush()
            return subprocess.run(
                [*spaces, "sh", "-e", "-c", script], cwd=self.root,
                stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            ).returncode  # fmt: skip

    def _mounts(self, network: bool) -> list[str]:
        """Return the lines of shell that make the folder look like a container."""
        lines = ["mount -t proc proc proc", "mount --rbind /sys sys", "mount -t tmpfs dev dev"]
        for name in DEVICES:
            lines += [f"touch dev/{name}", f"mount --bind /dev/{name} dev/{name}"]
        lines += ["mkdir dev/shm dev/pts", "mount -t tmpfs shm dev/shm"]
        lines += ["mount -t devpts -o newinstance,ptmxmode=666 pts dev/pts"]
        lines += ["ln -s pts/ptmx dev/ptmx", "ln -s /proc/self/fd dev/fd"]
        for there, here in self._shared().items():
            lines += [f"mount --bind {shlex.quote(str(here))} {shlex.quote(str(there)[1:])}"]
        return lines if network else ["ip link set lo up", *lines]

    def _shared(self) -> dict[Path, Path]:
        """Return what chroots share, by its place inside: downloads, and what pip is set to use."""
        downloads = FOLDER / "downloads"
        shared = {
            self.clone / "build/cache/pool": downloads / self.user / "pool",
            Path("/var/cache/pip"): downloads / self.user / "pip",
        }
        if not self.host.bare:
            shared[Path("/var/cache/apt/archives")] = downloads / f"apt-{self.host.suite}"
        for there, here in shared.items():
            if not here.exists():
                here.mkdir(parents=True)
                if here.parent.name in USERS:
                    _give(here, USERS[here.parent.name])
            (self.root / there.relative_to("/")).mkdir(parents=True, exist_ok=True)
        for path in _settings_of_pip():
            _make_place(path, self.root / path.relative_to("/"))
            shared[path] = path
        return shared


def _environment(home: str) -> list[str]:
    """Return what is set inside: what leads to the network is as here."""
    passed = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
    own = {"PATH": PATH, "HOME": home, "LANG": "C.UTF-8", "TERM": "dumb"}
    own["PIP_CACHE_DIR"] = "/var/cache/pip"
    return [f"{name}={value}" for name, value in (passed | own).items()]


def _settings_of_pip() -> list[Path]:
    """Return pip's settings here, and files and folders that these name."""
    shown = subprocess.run(["pip", "config", "list"], capture_output=True, text=True).stdout
    words = re.findall(r"[^\s'=]+", shown.replace("file://", ""))
    found = [Path(word) for word in ("/etc/pip.conf", *words) if word.startswith("/")]
    return [path for path in dict.fromkeys(found) if path.exists()]


def _make_place(here: Path, there: Path) -> None:
    """Make an empty file or folder to mount on."""
    (there if here.is_dir() else there.parent).mkdir(parents=True, exist_ok=True)
    if not here.is_dir():
        there.touch()


def _give(folder: Path, number: int) -> None:
    """Make a user the owner of a folder and all in it."""
    subprocess.run(["chown", "-R", f"{number}:{number}", folder], check=True)
