"""dom0's user space: Debian packages in a folder, made whole by a few links and settings.

Maintainer scripts do not run; what they would have done and dom0 needs is in `files/root` or
below. Programs of the tree can be run on the build machine, through the tree's own loader, so
that nothing depends on what is installed there.
"""

import shutil
import subprocess
from pathlib import Path

from tools.image import packages
from tools.image.unpack import MERGED, needed, unpack
from tools.setup.paths import USER_SPACE
from tools.setup.progress import fail, step
from tools.setup.stamp import Stamp, fingerprint

FILES = Path(__file__).with_name("files")
STAMP = USER_SPACE.with_suffix(".stamp")
FOLDERS = ("dev", "proc", "sys", "run", "tmp", "root", "mnt", "opt/proxen", "var/lib", "var/log")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}
COMPILERS = 4  # processes, whatever the number of processors: it shows in the product
COMPILE = """
from importlib.util import cache_from_source
from py_compile import PycInvalidationMode, compile
from sys import argv
folder, *files = argv[1:]
for name in files:
    source, mode = f"{folder}/{name}", PycInvalidationMode.UNCHECKED_HASH
    compile(source, cache_from_source(source) + ".new", name, True, invalidation_mode=mode)
"""
LIBRARIES = "usr/lib/x86_64-linux-gnu"


class UserSpace:
    """The unpacked user space."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree

    @property
    def busybox(self) -> Path:
        """The static busybox, which runs everywhere."""
        return self.tree / "usr/bin/busybox"

    @property
    def loader(self) -> Path:
        """The tree's own loader of programs: the link to it in /lib64 would lead to the host's."""
        return self.tree / LIBRARIES / "ld-linux-x86-64.so.2"

    def run(self, program: str, *arguments: str, **environment: str) -> tuple[str, str]:
        """Run a dynamically linked program of the tree on the build machine.

        It sees nothing of the host's environment, so that its product depends on its inputs alone.
        Returns: what it said on standard output and on standard error.
        Errors: SystemExit, it failed.
        """
        with self.start(program, *arguments, **environment) as child:
            said, complaints = child.communicate()
        if child.returncode:
            raise fail(f"{program} failed: {' '.join(complaints.split())}")
        return said, complaints

    def start(self, program: str, *arguments: str, **environment: str) -> subprocess.Popen:
        """Start such a program, what it says going into pipes."""
        command = [self.loader, "--argv0", program, "--library-path", self.tree / LIBRARIES]
        command += [self._find(program), *arguments]
        settings = ENVIRONMENT | {"MKE2FS_CONFIG": str(self.tree / "etc/mke2fs.conf")}
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=settings | environment,
            umask=0o022,
        )

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
        A link may lead to a file of the host, and is left alone.
        What a process compiled before shows in them, so each has its files in a fixed order, and
        the products get their names when all have ended: none imports what another compiled.
        """
        for folder in folders:
            found = (file for file in folder.rglob("*.py") if not file.is_symlink())
            files = sorted(str(file.relative_to(folder)) for file in found)
            children = [self._compiler(folder, files[i::COMPILERS]) for i in range(COMPILERS)]
            complaints = [child.communicate()[1] for child in children]
            if any(child.returncode for child in children):
                raise fail(f"dom0's Python does not compile: {' '.join(complaints).strip()[-200:]}")
            for made in folder.rglob("*.pyc.new"):
                made.rename(made.with_suffix(""))

    def _compiler(self, folder: Path, files: list[str]) -> subprocess.Popen:
        words = ("-s", "-P", "-c", COMPILE, str(folder), *files)
        home = {"PYTHONHOME": str(self.tree / "usr"), "PYTHONDONTWRITEBYTECODE": "1"}
        return self.start("python3.11", *words, **home)


def user_space() -> UserSpace:
    """Return the user space; built only when the packages or our files changed."""
    made = UserSpace(USER_SPACE)
    debs = packages.user_space()
    digest = fingerprint(
        debs.digest,
        FILES / "root",
        Path(__file__),
        Path(unpack.__code__.co_filename),
    )
    stamp = Stamp(STAMP, made.tree)
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
