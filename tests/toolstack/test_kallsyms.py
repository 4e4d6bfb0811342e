"""Symbols out of a stripped Linux: Debian's own kernel, which the image has."""

import struct
import subprocess

import pytest
import xen_codecs as abi
from dwarf.kallsyms import DIGITS, find_symbols
from xm import kallsyms

from tests.host_tools import needs
from tests.toolstack import tiny_guest
from tools.image.build import build_image
from tools.image.bzimage import elf_kernel
from tools.image.kernel import Kernel
from tools.image.packages import kernel
from tools.setup.patience import PATIENCE_S


@pytest.fixture(scope="module")
def linux():
    return build_image().vmlinux.read_bytes()


@pytest.fixture(scope="module")
def symbols(linux):
    return find_symbols(linux)


def note(image, kind):
    """Return a number from the kernel's notes for Xen."""
    at = image.index(struct.pack("<III", 4, 8, kind) + b"Xen\0")
    return struct.unpack_from("<Q", image, at + 16)[0]


def test_names_are_where_the_kernel_says(linux, symbols):
    """Its notes for Xen tell the address of one that has a name."""
    assert kallsyms.is_stripped(linux) and len(symbols) > 50_000
    assert symbols["startup_xen"][0] == note(linux, abi.XEN_ELFNOTE_ENTRY)
    assert symbols["start_kernel"][1] in "tT"


@pytest.mark.parametrize("suite", ["trixie", "sid"])
def test_newer_kernels_have_their_tables_in_another_order(suite):
    vmlinux = elf_kernel(Kernel(kernel(suite)).vmlinuz.read_bytes())
    symbols = find_symbols(vmlinux)
    assert len(symbols) > 50_000
    assert symbols["startup_xen"][0] == note(vmlinux, abi.XEN_ELFNOTE_ENTRY)
    assert symbols["_text"][0] < symbols["start_kernel"][0] < symbols["_end"][0]


@needs("gdb")
def test_gdb_reads_what_we_write(symbols, tmp_path):
    path = tmp_path / "symbols.elf"
    path.write_bytes(kallsyms.make_elf(symbols))
    commands = ["info symbol start_kernel+4", "info address default_idle", "print &jiffies"]
    words = [word for command in commands for word in ("-ex", command)]
    shown = subprocess.run(
        ["gdb", "-batch", "-nx", *words, path], capture_output=True, text=True, timeout=PATIENCE_S
    ).stdout
    assert "start_kernel + 4 in section .text" in shown
    assert f"{symbols['default_idle'][0]:#x}" in shown and f"{symbols['jiffies'][0]:#x}" in shown


@pytest.mark.parametrize("kind", ["empty", "short", "tiny guest", "zeroes", "digits"])
def test_files_without_the_table(kind):
    image = {
        "empty": b"",
        "short": b"\x7fELF",
        "tiny guest": tiny_guest.build("nop"),
        "zeroes": bytes(1 << 16),
        "digits": DIGITS * 300,
    }[kind]
    assert find_symbols(image) == {}
    assert find_symbols(b"\x7fELF\2" + image) == {}


def test_a_broken_table_is_none(linux):
    """Every token table in the file spoilt."""
    assert find_symbols(linux.replace(DIGITS, bytes(len(DIGITS)))) == {}
    assert not kallsyms.is_stripped(tiny_guest.build("nop"))
