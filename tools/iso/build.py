"""One file that boots as a CD and as a USB stick, by BIOS and by UEFI; built only when its inputs
changed, without root.

Its label is made of its contents, so that GRUB and dom0 find this medium and no other Proxen's.
Equal inputs give equal bytes.
"""

from pathlib import Path

from tools.image.build import build_image
from tools.image.disk import TIME
from tools.image.userspace import UserSpace, user_space
from tools.iso.boot_tools import boot_tools
from tools.iso.contents import FILES, write_contents
from tools.iso.grub import boot_sector, write_loaders
from tools.run.build import build_core
from tools.setup.paths import BUILD, CORE, IMAGE
from tools.setup.progress import step
from tools.setup.stamp import Stamp, fingerprint

ISO = BUILD / "proxen.iso"
STAGING = BUILD / "iso"
DATE = "2026010100000000"  # of everything on the medium


def build_iso() -> Path:
    """Build or find the medium.

    Returns: its path.
    """
    build_core()
    build_image()
    tools = boot_tools()
    stamps = [(IMAGE / name).read_text() for name in ("image.stamp", "opt.stamp")]
    digest = fingerprint(
        *stamps, (BUILD / "boot-tools.stamp").read_text(), CORE, FILES, *_sources()
    )
    stamp = Stamp(ISO.with_suffix(".stamp"), ISO)
    if not stamp.fresh(digest):
        stamp.forget()
        with step("build the medium"):
            _build(tools, f"PROXEN_{digest[:8].upper()}")
        stamp.record(digest)
    return ISO


def _sources() -> list[Path]:
    return sorted(Path(__file__).parent.glob("*.py"))


def _build(tools: UserSpace, label: str) -> None:
    files = write_contents(STAGING, user_space())
    mark = STAGING / "mark"
    mark.write_text(f"{label}\n")
    menu = STAGING / "grub.cfg"
    menu.write_text((FILES / "grub.cfg").read_text().replace("@LABEL@", label))
    write_loaders(tools, STAGING, f"/boot/{label}")
    files |= {f"boot/{label}": mark, "boot/grub/grub.cfg": menu}
    files |= {"boot/grub/eltorito.img": STAGING / "eltorito.img", "efi.img": STAGING / "efi.img"}
    _write_iso(tools, label, files)


def _write_iso(tools: UserSpace, label: str, files: dict[str, Path]) -> None:
    """Write the image: El Torito entries for both kinds of firmware as a disc, a boot sector and an
    EFI system partition as a disk.
    """
    ISO.unlink(missing_ok=True)
    words = ["-as", "mkisofs", "-graft-points", "-r", "-J", "-V", label]
    words += [f"--modification-date={DATE}", "--set_all_file_dates", DATE]
    words += ["-b", "boot/grub/eltorito.img", "-no-emul-boot"]
    words += ["-boot-load-size", "4", "-boot-info-table", "--grub2-boot-info"]
    words += ["--grub2-mbr", str(boot_sector(tools)), "--protective-msdos-label"]
    words += ["--efi-boot", "efi.img", "-efi-boot-part", "--efi-boot-image", "-o", str(ISO)]
    words += [f"{place}={file}" for place, file in sorted(files.items())]
    tools.run("xorriso", *words, SOURCE_DATE_EPOCH=str(TIME))
