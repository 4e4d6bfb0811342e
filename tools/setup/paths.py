"""Where things live: the one map of the work tree for setup, image, machine and run tools."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"
BUILD = ROOT / "build"

CACHE = BUILD / "cache"  # downloads; survives `make clean`
VENV = BUILD / "venv"
GEN = BUILD / "gen"  # generated Python: ABI structs, constants and codecs
IMAGE = BUILD / "image"  # dom0's kernel, ramdisk and disks
VMLINUZ = IMAGE / "vmlinuz"  # the kernel as Debian ships it
VMLINUX = IMAGE / "vmlinux"  # the ELF file inside it
REAL_XEN = IMAGE / "xen-4.17"
RUNS = BUILD / "run"  # one folder for each machine that was started

CORE = BUILD / "proxen.bin"
