"""dom0's user space: Debian packages in a folder, made whole by a few links and settings.

Maintainer scripts do not run; what they would have done and dom0 needs is in `files/root` or
below. Programs of the tree can be run on the build machine, through the tree's own loader, so
that nothing depends on what is installed there.
"""

import os
import shutil
import subprocess
from pathlib import Path

from tools.image import packages
from tools.image.unpack import MERGED, needed, unpack
from tools.setup.paths import IMAGE
from tools.setup.progress import step
from tools.setup.stamp import Stamp, fingerprint

FILES = Path(__file__).with_name("files")
FOLDERS = ("dev", "proc", "sys", "run", "tmp", "root", "mnt", "opt/proxen", "var/lib", "var/log")
LIBRARIES = "usr/lib/x86_64-linux-gnu"


class UserSpace:
    """The unpacked user space."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree

    @property
    def busybox(self) -> Path:
        """The static busybox, which runs everywhere."""
        return self.tree / "usr/bin/busybox"

    def run(self, program: str, *arguments: str) -> str:
        """Run a dynamically linked program of the tree on the build machine.

        It sees our files as root's: a builder who is not root enters a user namespace for that.
        Returns: its standard output.
        """
        loader = self.tree / "usr/lib64/ld-linux-x86-64.so.2"
        as_root = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
        command = [*as_root, loader, "--argv0", program, "--library-path", self.tree / LIBRARIES]
        command += [self._find(program), *arguments]
        environment = os.environ | {"MKE2FS_CONFIG": str(self.tree / "etc/mke2fs.conf")}
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env=environment
        )
        return done.stdout

    def _find(self, program: str) -> Path:
        """Return the file of a program; its absolute links mean places in the tree, not here."""
        for folder in ("usr/bin", "usr/sbin"):
            place = self.tree / folder / program
            while place.is_symlink():
                target = place.readlink()
                place = (
                    self.tree / target.relative_to("/")
                    if target.is_absolute()
                    else place.parent / target
                )
            if place.exists():
                return place
        raise FileNotFoundError(f"dom0's user space has no program {program}")

    def byte_compile(self, *folders: Path) -> None:
        """Compile all Python below folders: dom0's daemons would spend seconds on that.

        The .pyc files are not checked against the sources at import, so file times play no part.
        """
        for folder in folders:
            self.run(
                *("python3.11", "-I", "-m", "compileall", "-q", "-j", "0"),
                *("--invalidation-mode", "unchecked-hash", "-s", str(folder), str(folder)),
            )


def user_space() -> UserSpace:
    """Return the user space; built only when the packages or our files changed."""
    made = UserSpace(IMAGE / "root")
    debs = packages.user_space()
    digest = fingerprint(
        debs.digest,
        FILES / "root",
        Path(__file__),
        Path(unpack.__code__.co_filename),
    )
    stamp = Stamp(IMAGE / "root.stamp", made.tree)
    if not stamp.fresh(digest):
        stamp.forget()
        with step(f"unpack dom0's user space, {debs}"):
            _build(made, debs.files)
        stamp.record(digest)
    return made


def _build(made: UserSpace, debs: list[Path]) -> None:
    shutil.rmtree(made.tree, ignore_errors=True)
    for name in FOLDERS:
        (made.tree / name).mkdir(parents=True)
    for name in MERGED:
        (made.tree / "usr" / name).mkdir(parents=True)
        (made.tree / name).symlink_to(f"usr/{name}")
    for deb in debs:
        unpack(deb, made.tree, needed)
    _link_applets(made)
    (made.tree / "usr/sbin/init").symlink_to("/usr/bin/busybox")
    shutil.copytree(FILES / "root", made.tree, dirs_exist_ok=True)
    made.byte_compile(made.tree / "usr/lib/python3.11", made.tree / "usr/lib/python3")


def _link_applets(made: UserSpace) -> None:
    """Let busybox stand in for every program that no package brought."""
    listing = subprocess.run([made.busybox, "--list"], check=True, capture_output=True, text=True)
    for applet in listing.stdout.split():
        folders = (made.tree / "usr" / folder for folder in ("bin", "sbin"))
        if not any(
            (folder / applet).is_symlink() or (folder / applet).exists() for folder in folders
        ):
            (made.tree / "usr/bin" / applet).symlink_to("/usr/bin/busybox")
