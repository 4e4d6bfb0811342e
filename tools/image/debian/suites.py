"""What is used of which release of Debian: the root of each set, and what belongs to it."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from tools.setup.paths import DOM0
from tools.setup.progress import fail

# Their programs are for maintainer scripts and package management, which dom0 has none of.
LEFT_OUT = {"debconf", "dpkg", "gcc-12-base", "libdb5.3", "mawk", "tar", "readline-common"}
PROGRAMS = (
    "bash",
    "busybox-static",
    "e2fsprogs",
    "iproute2",
    "kmod",
    "python3",
    "python3-h11",
    "python3-wsproto",
)
# GRUB, and what makes a medium that firmware boots from; with what these are linked.
BOOT_MEDIA = ("grub-pc-bin", "grub-efi-amd64-bin", "grub-common", "mtools", "xorriso")
BOOT_LIBRARIES = re.compile(
    r"lib(acl1|attr1|bz2-1\.0|burn4|c6|devmapper1\.02\.1|isoburn1|isofs6|jte2|lzma5|pcre2-8-0|"
    r"readline8|selinux1|tinfo6|udev1)|zlib1g"
)
KERNEL = re.compile(r"linux-(image|binary|modules|base)-\d\S+")


@dataclass(frozen=True)
class Set:
    """Packages that are used together: those that `roots` need and that belong."""

    roots: tuple[str, ...]
    belongs: Callable[[str], object]


@dataclass(frozen=True)
class Suite:
    """A release: its sets, and where its packages stand."""

    name: str
    sets: dict[str, Set]
    updated: bool = True  # it has NAME-updates and NAME-security, as a stable release has

    @property
    def indices(self) -> list[tuple[str, str]]:
        """(archive, distribution) of each index of its packages."""
        found = [("debian", self.name)]
        if self.updated:
            found += [("debian", f"{self.name}-updates")]
            found += [("debian-security", f"{self.name}-security")]
        return found


def unknown_release() -> SystemExit:
    """Return the exit for a DOM0 that names no release; for `raise unknown_release()`."""
    return fail(f"DOM0 is {DOM0!r}; it can be {', '.join(SUITES)}")


def _single(package: str) -> Set:
    return Set((package,), lambda name: name == package)


_KERNEL = Set(("linux-image-amd64",), KERNEL.fullmatch)
_KEYRING = _single("debian-archive-keyring")
_BOOT_MEDIA = Set(BOOT_MEDIA, lambda name: name in BOOT_MEDIA or BOOT_LIBRARIES.fullmatch(name))
_USER_SPACE = Set(PROGRAMS, lambda name: name not in LEFT_OUT)

SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            "bookworm",
            {
                "user-space": _USER_SPACE,
                "kernel": _KERNEL,
                "boot-media": _BOOT_MEDIA,
                "uefi": _single("ovmf"),
                "xen": _single("xen-hypervisor-4.17-amd64"),
                "headers": _single("libxen-dev"),
                "keyring": _KEYRING,
            },
        ),
        Suite(
            "trixie",
            {
                "kernel": _KERNEL,
                "xen": _single("xen-hypervisor-4.20-amd64"),
                "keyring": _KEYRING,
            },
        ),
        Suite("sid", {"kernel": _KERNEL, "keyring": _KEYRING}, updated=False),
    )
}
