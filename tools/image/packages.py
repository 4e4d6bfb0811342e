"""Fetches Debian packages with the machine's own apt, without root and without touching its state.

apt gets a private state folder with an empty status file, so the answer does not depend on what
happens to be installed here, and signatures and checksums are apt's own business. The result is
kept below build/cache; apt is asked again only when the list of wanted packages changes.
"""

import re
import subprocess
from pathlib import Path

from tools.setup.paths import CACHE
from tools.setup.progress import fail, step
from tools.setup.stamp import Stamp, fingerprint

WANTED = Path(__file__).with_name("packages.txt")
KERNEL = "linux-image-amd64"
REAL_XEN = "xen-hypervisor-4.17-amd64"
APT = CACHE / "apt"
DEBS = CACHE / "debs"

# Their programs are for maintainer scripts and package management, which dom0 has none of.
LEFT_OUT = {"debconf", "dpkg", "gcc-12-base", "libdb5.3", "mawk", "tar", "readline-common"}


def user_space() -> list[Path]:
    """Return the .deb files of dom0's user space, fetching what is missing."""
    wanted = _read_list(WANTED)
    return _fetched("user-space", [*wanted], lambda: _closure(wanted))


def kernel() -> Path:
    """Return the .deb of the stock kernel that linux-image-amd64 stands for."""
    return _fetched("kernel", [KERNEL], lambda: [_one(KERNEL, r"linux-image-\d\S+")])[0]


def real_xen() -> Path:
    """Return the .deb of the hypervisor that we compare ourselves with."""
    return _fetched("xen", [REAL_XEN], lambda: [_one(REAL_XEN, re.escape(REAL_XEN))])[0]


def _fetched(name: str, key: list[str], resolve) -> list[Path]:
    listing = CACHE / f"{name}.list"
    digest = fingerprint("\n".join([*key, *sorted(LEFT_OUT)]))
    stamp = Stamp(CACHE / f"{name}.stamp", listing)
    if stamp.fresh(digest):
        debs = [DEBS / line for line in listing.read_text().split()]
        if all(deb.exists() for deb in debs):
            return debs
    stamp.forget()
    with step(f"fetch Debian packages ({name})"):
        _update()
        debs = _download(resolve())
    listing.write_text("\n".join(deb.name for deb in debs))
    stamp.record(digest)
    return debs


def _read_list(path: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def _apt(*arguments: str, cwd: Path | None = None) -> str:
    """Run apt-get over the private state.

    Returns: its standard output.
    Errors: SystemExit with apt's own last words.
    """
    options = {
        "Dir::State": APT / "state",
        "Dir::State::status": APT / "status",
        "Dir::Cache": APT / "cache",
        "Debug::NoLocking": 1,
        "APT::Sandbox::User": "",
        "APT::Install-Recommends": "false",
        "Acquire::Languages": "none",
        "Acquire::Retries": 3,
    }
    flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    done = subprocess.run(
        ["apt-get", "-q", "-y", *flags, *arguments], cwd=cwd, capture_output=True, text=True
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise fail(f"apt-get {arguments[0]} failed: {last[0]}")
    return done.stdout


def _update() -> None:
    for folder in (APT / "state/lists/partial", APT / "cache/archives/partial", DEBS):
        folder.mkdir(parents=True, exist_ok=True)
    (APT / "status").write_text("")
    _apt("update")


def _closure(wanted: list[str]) -> list[str]:
    """Return `name=version` of all packages that the wanted ones need."""
    plan = _apt("--simulate", "install", *wanted)
    found = re.findall(r"^Inst (\S+) \((\S+) ", plan, re.MULTILINE)
    return [f"{name}={version}" for name, version in found if name not in LEFT_OUT]


def _one(wanted: str, pattern: str) -> str:
    """Return `name=version` of the one package, of all that `wanted` needs, whose name matches."""
    plan = _apt("--simulate", "install", wanted)
    found = re.search(rf"^Inst ({pattern}) \((\S+) ", plan, re.MULTILINE)
    if found is None:
        raise fail(f"apt knows no package {pattern} that {wanted} needs")
    return f"{found[1]}={found[2]}"


def _download(packages: list[str]) -> list[Path]:
    """Fetch packages into the cache.

    Returns: their files, in the order of `packages`.
    """
    _apt("download", *packages, cwd=DEBS)
    return [_file_of(package) for package in packages]


def _file_of(package: str) -> Path:
    name, version = package.split("=")
    escaped = version.replace(":", "%3a")
    found = list(DEBS.glob(f"{name}_{escaped}_*.deb"))
    if len(found) != 1:
        raise fail(f"apt fetched {len(found)} files for {package}, expected one")
    return found[0]
