"""Real Xen, to boot the same dom0 and guests on: unpacked from Debian's package, not installed.

Installing it would change the boot menu of the developer's machine.
"""

import gzip
from pathlib import Path

from tools.image import packages
from tools.image.debian.archive import members
from tools.setup.paths import REAL_XEN
from tools.setup.stamp import Stamp, fingerprint

PATTERN = "boot/xen-*-amd64.gz"


def real_xen(version: str = "4.17") -> Path:
    """Return a version of Xen as the plain 32-bit ELF file that QEMU's multiboot loader takes."""
    file = REAL_XEN.with_name(f"xen-{version}")
    debs = packages.real_xen(version)
    digest = fingerprint(debs.digest)
    stamp = Stamp(file.with_name(f"{file.name}.stamp"), file)
    if not stamp.fresh(digest):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.decompress(_packed(*debs.files)))
        stamp.record(digest)
    return file


def _packed(deb: Path) -> bytes:
    for path, entry, contents in members(deb):
        if entry.isreg() and path.match(PATTERN):
            return contents.read()
    raise FileNotFoundError(f"{deb.name} has no {PATTERN}")
