"""GRUB for the medium: one image that a BIOS starts, one that a UEFI starts.

Both know where the rest is by a file that only this medium has, whether the firmware calls it a
disc or a disk.
"""

from pathlib import Path

from tools.image.disk import TIME
from tools.image.userspace import UserSpace

PREFIX = "/boot/grub"
COMMON = (
    *("boot", "configfile", "echo", "gzio", "halt", "iso9660", "linux", "ls", "multiboot2"),
    *("normal", "part_gpt", "part_msdos", "reboot", "search", "search_fs_file", "serial", "test"),
    *("terminal", "minicmd", "sleep"),
)
BIOS = ("biosdisk", "vbe", "vga", "vga_text")
EFI = ("fat", "efi_gop", "efi_uga", "video_bochs", "video_cirrus", "all_video", "gfxterm")
EARLY = """search --no-floppy --file --set=root {mark}
set prefix=($root){prefix}
"""
SECTORS = 5760  # of the EFI system partition, 2.8 MiB


def write_loaders(tools: UserSpace, staging: Path, mark: str) -> None:
    """Write into the staging folder the images for both kinds of firmware, and the EFI system
    partition.

    Args: mark, the path of the file on the medium by which it is known.
    """
    early = staging / "early.cfg"
    early.write_text(EARLY.format(mark=mark, prefix=PREFIX))
    _image(tools, "i386-pc-eltorito", (*COMMON, *BIOS), early, staging / "eltorito.img")
    program = staging / "bootx64.efi"
    _image(tools, "x86_64-efi", (*COMMON, *EFI), early, program)
    _system_partition(tools, program, staging / "efi.img")


def boot_sector(tools: UserSpace) -> Path:
    """Return the boot sector with which a BIOS starts the medium as a disk."""
    return tools.tree / "usr/lib/grub/i386-pc/boot_hybrid.img"


def _image(
    tools: UserSpace, kind: str, modules: tuple[str, ...], early: Path, target: Path
) -> None:
    folder = tools.tree / "usr/lib/grub" / kind.removesuffix("-eltorito")
    options = ("-O", kind, "-d", str(folder), "-p", PREFIX, "-c", str(early), "-o", str(target))
    tools.run("grub-mkimage", *options, *modules)


def _system_partition(tools: UserSpace, program: Path, target: Path) -> None:
    """Write a FAT file system with the one file that every UEFI looks for."""
    target.unlink(missing_ok=True)
    place, fixed = ("-i", str(target)), {"SOURCE_DATE_EPOCH": str(TIME)}
    tools.run("mformat", *place, "-C", "-T", str(SECTORS), "-N", "50524f58", "::", **fixed)
    tools.run("mmd", *place, "::/EFI", "::/EFI/BOOT", **fixed)
    tools.run("mcopy", *place, str(program), "::/EFI/BOOT/BOOTX64.EFI", **fixed)
