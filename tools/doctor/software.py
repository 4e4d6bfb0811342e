"""Programs and packages: Python, Debian's, PyPI's, QEMU and its known faults."""

import re
import sys
from importlib.metadata import distributions
from pathlib import Path

from tools.doctor.finding import BAD, GOOD, REMARK, Finding, ask
from tools.qemu.faults import known_faults
from tools.setup.paths import REAL_XEN, VENV
from tools.setup.programs import SEARCH, install_line, listing, missing
from tools.setup.venv import PYTHON, REQUIREMENTS, is_fresh, pins

PYTHON_NEEDED = (3, 11)
QEMU = "qemu-system-x86_64"
TRIED_QEMU = ((7, 2), (11, 1))  # from, to


def python() -> Finding:
    """The Python that this runs on; its version is the one that the venv gets."""
    version = sys.version.split()[0]
    if sys.version_info[:2] < PYTHON_NEEDED:
        wanted = ".".join(map(str, PYTHON_NEEDED))
        return Finding(
            BAD, "python", f"{version}, but {wanted} is needed", install_line(["python3"])
        )
    return Finding(GOOD, "python", f"{version} at {sys.executable}")


def programs() -> list[Finding]:
    """Every program that the host must bring, with its package's version where dpkg knows it."""
    lacking = {end: missing(end) for end in ("run", "test")}
    names = dict.fromkeys(program.name for program in listing())
    there = [n for n in names if n not in [*lacking["run"], *lacking["test"]]]
    listed = ask("dpkg-query", "-W", "-f", "${Package} ${Version}\\n", *there)
    versions = dict(line.split(" ", 1) for line in listed.splitlines())
    found = [f"{name} {versions.get(name, '')}".strip() for name in there]
    findings = [Finding(GOOD, "programs", ", ".join(found))] if found else []
    if words := lacking["run"]:
        detail = f"missing: {' '.join(words)}"
        findings.append(Finding(BAD, "programs", detail, install_line(words)))
    if words := lacking["test"]:
        detail = f"missing: {' '.join(words)}; only tests and `make debug` use it"
        findings.append(Finding(REMARK, "programs", detail, install_line(words)))
    return findings


def venv() -> Finding:
    """The virtual environment: every package in a version that is tried."""
    what = "build/venv"
    if not PYTHON.exists():
        return Finding(REMARK, what, "not made yet", "make setup")
    wanted = dict(re.findall(r"^([\w.-]+)==([^;\s]+)", pins().read_text(), re.MULTILINE))
    names = dict.fromkeys(re.findall(r"^[\w.-]+", REQUIREMENTS.read_text(), re.MULTILINE))
    found = {_key(d.metadata["Name"]): d.version for d in distributions(path=[str(_packages())])}
    lacking = [name for name in names if _key(name) not in found]
    if lacking:
        return Finding(REMARK, what, f"lacks {', '.join(lacking)}", "make setup")
    listed = ", ".join(f"{name} {found[_key(name)]}" for name in names)
    if not is_fresh():
        return Finding(
            REMARK, what, f"made for another Python or other pins: {listed}", "make setup"
        )
    other = [name for name in names if found[_key(name)] != wanted.get(name)]
    return Finding(GOOD, what, f"{listed}{'; not pinned: ' if other else ''}{', '.join(other)}")


def _packages() -> Path:
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return VENV / "lib" / version / "site-packages"


def _key(name: str) -> str:
    """Return a name as package indices compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def qemu() -> Finding:
    """QEMU's version, and what is known of it."""
    text = ask(QEMU, "--version")
    found = re.search(r"version (\d+)\.(\d+)[\d.]*", text)
    if found is None:
        mend = install_line(["qemu-system-x86"])
        return Finding(BAD, "QEMU", f"{QEMU} does not run; looked in {SEARCH}", mend)
    version = (int(found[1]), int(found[2]))
    oldest, newest = (".".join(map(str, end)) for end in TRIED_QEMU)
    if version < TRIED_QEMU[0]:
        detail = f"{found[0]} is older than {oldest}, the oldest that was tried"
        return Finding(REMARK, "QEMU", detail, install_line(["qemu-system-x86"]))
    tried = f"{oldest} to {newest} were tried; {_faults()}"
    return Finding(GOOD if version <= TRIED_QEMU[1] else REMARK, "QEMU", f"{found[0]}; {tried}")


def _faults() -> str:
    known = known_faults()
    if known is None:
        return "the first boot asks it for its faults"
    return f"a probe found: {'; '.join(known.words()) or 'none of the faults that we know'}"


def real_xen() -> Finding:
    """The hypervisor to compare with, for HV=xen, `make compare` and `make bench`."""
    if REAL_XEN.exists():
        return Finding(GOOD, "real Xen", f"{REAL_XEN.name}, for HV=xen and make bench")
    detail = "not fetched yet; HV=xen, make compare and make bench do it"
    return Finding(GOOD, "real Xen", detail)
