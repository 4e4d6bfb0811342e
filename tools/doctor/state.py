"""What is built, and whether it is what the sources say; what runs, and what was left over."""

import hashlib
import http.client
import json
import os
from pathlib import Path

from tools.doctor.finding import BAD, GOOD, REMARK, Finding
from tools.image.debian import store
from tools.image.debian.instead import packages_of
from tools.image.debian.mirror import mirror
from tools.image.debian.suites import SUITES, unknown_release
from tools.setup.paths import BUILD, CORE, DOM0, IMAGE, ROOT, RUNS

CORE_STAMP = BUILD / "obj/proxen.stamp"
CURRENT = RUNS / "current"
PROC = Path("/proc")
ANSWER_S = 3
MAX_NAMED = 3


def core() -> Finding:
    """The hypervisor core, and the inputs that changed since it was built."""
    what = "core"
    if not CORE.exists() or not CORE_STAMP.exists():
        return Finding(GOOD, what, "not built yet; make run does it")
    changed = [name for name, digest in _inputs().items() if _digest(name) != digest]
    if changed:
        names = ", ".join(os.path.relpath(name, ROOT) for name in changed[:MAX_NAMED])
        more = f" and {len(changed) - MAX_NAMED} more" if len(changed) > MAX_NAMED else ""
        detail = f"older than {names}{more}; make run builds it anew"
        return Finding(REMARK, what, detail, "make build")
    return Finding(
        GOOD, what, f"{CORE.relative_to(ROOT)}, {CORE.stat().st_size:,} bytes, up to date"
    )


def _inputs() -> dict[str, str]:
    try:
        return json.loads(CORE_STAMP.read_text())["inputs"]
    except (ValueError, KeyError):
        return {"the record of its build": ""}


def _digest(name: str) -> str | None:
    try:
        return hashlib.sha256(Path(name).read_bytes()).hexdigest()
    except OSError:
        return None


def packages() -> Finding:
    """The Debian packages that dom0's image is made of, and where the missing ones come from."""
    what = "dom0 packages"
    try:
        if DOM0 not in SUITES:
            raise unknown_release()
        pinned = packages_of("bookworm", "user-space") + packages_of(DOM0, "kernel")
        source = mirror()
    except SystemExit as error:
        return Finding(BAD, what, str(error).removeprefix("proxen: "))
    missing = [package for package in pinned if not store.has(package)]
    kernel = next(package for package in pinned if package.name.startswith("linux-image"))
    if not missing:
        return Finding(GOOD, what, f"all {len(pinned)} are here; kernel {kernel.version}")
    size = sum(package.size for package in missing) >> 20
    way = " through apt" if source.by_apt else ""
    detail = f"{len(missing)} of {len(pinned)} are not here; make run fetches {size} MiB"
    return Finding(GOOD, what, f"{detail} from {source}{way}")


def image() -> Finding:
    """Domain 0's image: kernel, ramdisk and both disks."""
    parts = [IMAGE / name for name in ("vmlinux", "initramfs.cpio", "root.img", "opt.img")]
    lacking = [path.name for path in parts if not path.exists()]
    if len(lacking) == len(parts):
        return Finding(GOOD, "dom0's image", "not built yet; make run does it, with a download")
    if lacking:
        detail = f"incomplete, lacks {', '.join(lacking)}; make run finishes it"
        return Finding(REMARK, "dom0's image", detail, "make build")
    size = sum(path.stat().st_blocks * 512 for path in parts) >> 20
    return Finding(GOOD, "dom0's image", f"built, {size} MiB")


def running_machine() -> Finding:
    """The machine of `make up`, and whether its xend answers."""
    what = "make up"
    try:
        pid, port = (int((CURRENT / name).read_text()) for name in ("pid", "port"))
    except (OSError, ValueError):
        return Finding(GOOD, what, "no machine is up")
    if not _is_qemu(pid):
        return Finding(REMARK, what, f"its QEMU (process {pid}) has ended", "make down")
    if not _answers(port):
        detail = f"QEMU runs (process {pid}), but xend does not answer on port {port}"
        return Finding(REMARK, what, f"{detail}; see {CURRENT}/serial.log", "make down")
    return Finding(GOOD, what, f"xend answers on http://127.0.0.1:{port}, process {pid}")


def _answers(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
        connection.request("GET", "/api/v1/host")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def leftovers() -> Finding:
    """QEMUs of this tree that nobody waits for any more."""
    kept = _number(CURRENT / "pid")
    ours = [pid for pid in _qemus() if _folder(pid).startswith(f"{RUNS}/") and pid != kept]
    lost = [pid for pid in ours if _parent(pid) == 1]
    if lost:
        words = " ".join(map(str, lost))
        detail = f"processes {words} outlived what started them"
        return Finding(REMARK, "left over", detail, f"kill {words}")
    busy = f"; {len(ours)} QEMU in use by other commands" if ours else ""
    return Finding(GOOD, "left over", f"no QEMU of this tree{busy}")


def _qemus() -> list[int]:
    pids = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return [pid for pid in pids if _is_qemu(pid)]


def _is_qemu(pid: int) -> bool:
    try:
        command = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")[0]
    except OSError:
        return False
    return command.rpartition(b"/")[2].startswith(b"qemu-system")


def _folder(pid: int) -> str:
    try:
        return os.readlink(PROC / str(pid) / "cwd")
    except OSError:
        return ""


def _parent(pid: int) -> int:
    try:
        status = (PROC / str(pid) / "status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line[:5] == "PPid:"), 0)


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
