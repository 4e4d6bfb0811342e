"""Real Xen, to boot the same dom0 and guests on: unpacked from Debian's package, not installed.

Installing it would change the boot menu of the developer's machine.
"""

import gzip
from pathlib import Path

from tools.image import packages
from tools.image.unpack import members
from tools.setup.paths import IMAGE
from tools.setup.stamp import Stamp, fingerprint

XEN = IMAGE / "xen-4.17"
PATTERN = "boot/xen-*-amd64.gz"


def real_xen() -> Path:
    """Return Xen 4.17 as the plain 32-bit ELF file that QEMU's multiboot loader takes."""
    deb = packages.real_xen()
    digest = fingerprint(deb.name)
    stamp = Stamp(IMAGE / "xen.stamp", XEN)
    if not stamp.fresh(digest):
        XEN.parent.mkdir(parents=True, exist_ok=True)
        XEN.write_bytes(gzip.decompress(_packed(deb)))
        stamp.record(digest)
    return XEN


def _packed(deb: Path) -> bytes:
    for path, entry, contents in members(deb):
        if entry.isreg() and path.match(PATTERN):
            return contents.read()
    raise FileNotFoundError(f"{deb.name} has no {PATTERN}")
