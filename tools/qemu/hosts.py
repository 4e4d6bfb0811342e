"""Ready-made machines: dom0 on Proxen, on real Xen, or on the bare machine."""

import os
from pathlib import Path

from tools.image.build import Image, build_image
from tools.image.xen import real_xen
from tools.qemu.config import Config, Disk, hypervisor_args
from tools.qemu.hardware import chosen
from tools.setup.paths import BUILD, CORE
from tools.setup.progress import fail

XENS = {"xen": "4.17", "xen-4.20": "4.20"}  # real ones, by kind
KINDS = ("proxen", *XENS, "linux")
READY = r"^proxen: dom0 ready"


def default_kind() -> str:
    """Return the hypervisor that PROXEN_HV names, else our own."""
    kind = os.environ.get("PROXEN_HV", "proxen")
    if kind not in KINDS:
        raise fail(f"PROXEN_HV={kind} is none of {', '.join(KINDS)}")
    return kind


def hypervisor(kind: str) -> Path | None:
    """Return the multiboot image of a kind of host; None for bare Linux.

    Errors: SystemExit, it is not built.
    """
    if kind == "linux":
        return None
    if kind == "proxen":
        if not CORE.exists():
            raise fail(f"{CORE.relative_to(BUILD.parent)} is missing; build it with `make build`")
        return CORE
    return real_xen(XENS[kind])


def peer() -> str:
    """Return the real Xen to compare ourselves with: PROXEN_HV's if that is one, else 4.17."""
    kind = default_kind()
    return kind if kind in XENS else "xen"


def dom0_machine(
    kind: str, name: str | None = None, image: Image | None = None, **changes
) -> Config:
    """Return the machine that boots dom0 on a kind of host.

    Args: changes, fields of Config that differ from the usual and from what the environment chose;
          `disks` come after dom0's own.
    """
    image = image or build_image()
    own_disks = tuple(Disk(path) for path in image.disks)
    usual = {
        "name": name or kind,
        "kernel": image.vmlinuz if kind == "linux" else image.vmlinux,
        "initramfs": image.initramfs,
        "hypervisor": hypervisor(kind),
        "hypervisor_args": hypervisor_args(kind),
        "kernel_args": "console=ttyS0" if kind == "linux" else "console=hvc0 earlyprintk=xen",
    }
    changes["disks"] = own_disks + tuple(changes.get("disks", ()))
    return Config(**(usual | chosen() | changes))
