"""Programs and packages: Python, Debian's, PyPI's, QEMU and its known faults."""

import re
import sys
from importlib.metadata import distributions

from tools.doctor.finding import BAD, GOOD, INSTALL, REMARK, Finding, ask
from tools.setup.debian import LISTING, SEARCH, missing
from tools.setup.paths import REAL_XEN, VENV
from tools.setup.venv import PYTHON, REQUIREMENTS, is_fresh

PYTHON_NEEDED = (3, 11)
QEMU = "qemu-system-x86_64"
TRIED_QEMU = (7, 2)
QEMU_7_2_BUGS = (
    "its TCG reads the stack of `iret` in ring 3 with supervisor rights, so machines run with "
    "smap=off; a forbidden `int n` in ring 3 gives a wrong error code, which nothing here needs"
)


def python() -> Finding:
    """The Python that this runs on; its version is the one that the venv gets."""
    version = sys.version.split()[0]
    if sys.version_info[:2] < PYTHON_NEEDED:
        wanted = ".".join(map(str, PYTHON_NEEDED))
        return Finding(BAD, "python", f"{version}, but {wanted} is needed", f"{INSTALL} python3")
    return Finding(GOOD, "python", f"{version} at {sys.executable}")


def debian_packages() -> list[Finding]:
    """Every package that setup installs, with its version where dpkg knows it."""
    names = [line.split()[0] for line in LISTING.read_text().splitlines() if _is_entry(line)]
    lacking = missing()
    listed = ask("dpkg-query", "-W", "-f", "${Package} ${Version}\\n", *names)
    versions = dict(line.split(" ", 1) for line in listed.splitlines())
    there = [f"{name} {versions.get(name, '')}".strip() for name in names if name not in lacking]
    findings = [Finding(GOOD, "packages", ", ".join(there))] if there else []
    if lacking:
        words = " ".join(lacking)
        findings.append(Finding(BAD, "packages", f"missing: {words}", f"{INSTALL} {words}"))
    return findings


def _is_entry(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def venv() -> Finding:
    """The virtual environment: every pinned package in its version."""
    if not PYTHON.exists():
        return Finding(REMARK, "build/venv", "not made yet", "make setup")
    wanted = dict(re.findall(r"^([\w.-]+)==(\S+)", REQUIREMENTS.read_text(), re.MULTILINE))
    folder = VENV / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    found = {d.metadata["Name"].lower(): d.version for d in distributions(path=[str(folder)])}
    wrong = [f"{name} {v}" for name, v in wanted.items() if found.get(name.lower()) != v]
    if wrong or not is_fresh():
        detail = f"lacks {', '.join(wrong)}" if wrong else "made for another Python or other pins"
        return Finding(REMARK, "build/venv", detail, "make setup")
    listed = ", ".join(f"{name} {version}" for name, version in wanted.items())
    return Finding(GOOD, "build/venv", listed)


def qemu() -> Finding:
    """QEMU's version, and what is known of it."""
    text = ask(QEMU, "--version")
    found = re.search(r"version (\d+)\.(\d+)[\d.]*", text)
    if found is None:
        mend = f"{INSTALL} qemu-system-x86"
        return Finding(BAD, "QEMU", f"{QEMU} does not run; looked in {SEARCH}", mend)
    version = (int(found[1]), int(found[2]))
    if version == TRIED_QEMU:
        return Finding(GOOD, "QEMU", f"{found[0]}, the one that is tested; known: {QEMU_7_2_BUGS}")
    if version < TRIED_QEMU:
        detail = f"{found[0]} is older than 7.2, with which all is tested"
        return Finding(REMARK, "QEMU", detail, f"{INSTALL} qemu-system-x86")
    return Finding(REMARK, "QEMU", f"{found[0]} is newer than 7.2, with which all is tested")


def gdb() -> Finding:
    """The debugger of `make debug` and `xm gdb`."""
    line = ask("gdb", "--version").partition("\n")[0]
    if not line:
        detail = "missing; `make debug` and `xm gdb` need it"
        return Finding(BAD, "gdb", detail, f"{INSTALL} gdb")
    return Finding(GOOD, "gdb", line)


def real_xen() -> Finding:
    """The hypervisor to compare with, for HV=xen, `make compare` and `make bench`."""
    if REAL_XEN.exists():
        return Finding(GOOD, "real Xen", f"{REAL_XEN.name}, for HV=xen and make bench")
    detail = "not fetched yet; HV=xen, make compare and make bench do it"
    return Finding(GOOD, "real Xen", detail)
