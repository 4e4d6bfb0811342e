"""What the host offers: processors, memory, disk space, and an accelerator that really works."""

import os
import platform
import shutil
from pathlib import Path

from tools.doctor.finding import BAD, GOOD, REMARK, Finding
from tools.qemu.accelerator import KVM, accelerator
from tools.qemu.config import Config
from tools.setup.paths import BUILD, ROOT, VMLINUZ

GIB = 1 << 30
MEMORY_GIB = 2.5  # what a machine of 3 GiB really touches, and QEMU
DISK_GIB = 3  # venv, downloads and dom0's image, from nothing
BUILT_DISK_GIB = 0.5
MEMINFO = Path("/proc/meminfo")


def processors() -> Finding:
    """The architecture, and how many processors there are."""
    count = len(os.sched_getaffinity(0))
    detail = f"{count} of {platform.machine()}"
    if platform.machine() != "x86_64":
        detail += "; tools and machine are tested on x86_64 only"
        return Finding(REMARK, "processors", detail)
    if count < 2:
        return Finding(REMARK, "processors", f"{detail}; machines have two, so they will be slow")
    return Finding(GOOD, "processors", detail)


def memory() -> Finding:
    """The memory that is available now."""
    values = dict(line.split(":") for line in MEMINFO.read_text().splitlines())
    total, free = (int(values[key].split()[0]) * 1024 / GIB for key in ("MemTotal", "MemAvailable"))
    detail = f"{free:.1f} of {total:.1f} GiB available"
    if free < MEMORY_GIB:
        return Finding(BAD, "memory", f"{detail}, {MEMORY_GIB} are needed; end other programs")
    return Finding(GOOD, "memory", detail)


def disk_space() -> Finding:
    """The space for what is built, downloaded and logged."""
    free = shutil.disk_usage(ROOT).free / GIB
    needed = BUILT_DISK_GIB if (BUILD / "image").exists() else DISK_GIB
    detail = f"{free:.1f} GiB free at {ROOT}"
    if free < needed:
        return Finding(BAD, "disk space", f"{detail}, {needed} are needed; make room")
    return Finding(GOOD, "disk space", detail)


def kvm() -> Finding:
    """Which accelerator machines will use, and why: KVM only where a boot under it works."""
    what = "accelerator"
    if chosen := os.environ.get("PROXEN_ACCEL"):
        return Finding(REMARK, what, f"{chosen}, as PROXEN_ACCEL says", "unset PROXEN_ACCEL")
    if not KVM.exists():
        return Finding(GOOD, what, f"TCG (slower, complete): there is no {KVM}")
    if not os.access(KVM, os.R_OK | os.W_OK):
        detail = f"TCG: you may not open {KVM}, which might be faster; then log in again"
        return Finding(REMARK, what, detail, f"usermod -aG kvm {os.environ.get('USER', '$USER')}")
    if not VMLINUZ.exists():
        detail = f"{KVM} is there; whether it works shows a boot, after the first `make build`"
        return Finding(REMARK, what, detail, "make build")
    if shutil.which("qemu-system-x86_64") is None:
        return Finding(REMARK, what, "cannot be tried without QEMU")
    if accelerator(VMLINUZ, Config(name="probe", kernel=VMLINUZ).cpu) == "kvm":
        return Finding(GOOD, what, "KVM: stock Linux boots under it")
    return Finding(
        GOOD, what, f"TCG (slower, complete): {KVM} is there, but no boot works under it"
    )
