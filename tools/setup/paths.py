"""Where things live: the one map of the work tree for setup, image, machine and run tools."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"
BUILD = ROOT / "build"

CACHE = BUILD / "cache"  # downloads; survives `make clean`
VENV = BUILD / "venv"
GEN = BUILD / "gen"  # generated Python: ABI structs, constants and codecs
DOM0 = os.environ.get("PROXEN_DOM0") or "bookworm"  # the Debian release whose kernel dom0 runs
USER_SPACE = BUILD / "user-space"  # dom0's programs, the same for every kernel
IMAGE = BUILD / ("image" if DOM0 == "bookworm" else f"image-{DOM0}")  # kernel, ramdisk and disks
VMLINUZ = IMAGE / "vmlinuz"  # the kernel as Debian ships it
VMLINUX = IMAGE / "vmlinux"  # the ELF file inside it
REAL_XEN = BUILD / "xen-4.17"
RUNS = BUILD / "run"  # one folder for each machine that was started

CORE = BUILD / "proxen.bin"
