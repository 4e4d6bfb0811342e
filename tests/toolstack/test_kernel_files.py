"""Reading kernels: ELF files, notes, symbols, bzImages, and everything that is none."""

import gzip
import lzma
import struct

import pytest
from dwarf.source import Frame, SourceMap
from hypothesis import given
from hypothesis import strategies as st
from xend import bzimage
from xend.elf import NotAKernel, parse_notes, read_kernel
from xend.errors import Refusal
from xend.files import Files

from tests.toolstack import tiny_guest


def bzimage_of(payload):
    """Return the frame of a bzImage around a packed kernel."""
    image = bytearray(2 * 512)
    image[bzimage.SETUP_SECTS_AT] = 1
    image[bzimage.HEADER_MAGIC_AT : bzimage.HEADER_MAGIC_AT + 4] = b"HdrS"
    struct.pack_into("<II", image, bzimage.PAYLOAD_AT, 16, len(payload))
    return bytes(image) + bytes(16) + payload + b"tail"


@pytest.fixture
def write(tmp_path):
    def write(data):
        path = tmp_path / "kernel"
        path.write_bytes(data)
        return str(path)

    return write


def test_notes_say_where_a_kernel_lives(write):
    kernel = read_kernel(write(tiny_guest.build(tiny_guest.HELLO)))
    assert kernel.entry == tiny_guest.CODE
    assert kernel.hypercall_page == tiny_guest.HYPERCALL_PAGE
    assert kernel.virt_base == kernel.start == tiny_guest.VIRT_BASE
    assert kernel.init_p2m is None and not kernel.mod_start_pfn


def test_symbols_are_found_by_address(write):
    source = SourceMap(write(tiny_guest.link(tiny_guest.CRASH_PARTS)))
    assert source.find(tiny_guest.CODE) == [Frame("_start", 0, None, 0)]
    assert source.find(tiny_guest.CODE + 0x12) == [Frame("outer", 1, None, 0)]
    assert source.find(0x1000) == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: b"", "empty"),
        (lambda: b"#!/bin/sh\n", "neither an ELF file nor a bzImage"),
        (lambda: tiny_guest.build("nop", elf_class=1), "32-bit"),
        (lambda: tiny_guest.build("nop", notes=False), "no Xen ELF notes"),
        (lambda: tiny_guest.build("nop")[:100], "cut off"),
        (lambda: tiny_guest.build("nop")[:0x1800], "copied completely"),
        (lambda: tiny_guest.build("nop", virt_base=tiny_guest.VIRT_BASE + 0x400000), ""),
    ],
)
def test_what_is_no_kernel_is_explained(write, make, words):
    data = make()
    if not words:
        assert read_kernel(write(data)).start >= tiny_guest.VIRT_BASE
        return
    with pytest.raises(NotAKernel, match=words):
        read_kernel(write(data))


@given(st.binary(max_size=200))
def test_no_notes_raise(data):
    list(parse_notes(data))


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_bzimage_is_unpacked(pack):
    image = bzimage_of(pack(b"the kernel") + struct.pack("<I", 10))
    assert bzimage.is_bzimage(image)
    assert bzimage.unpack(image) == b"the kernel"


@pytest.mark.parametrize(
    ("payload", "words"),
    [(b"????????", "unknown bytes"), (b"\xfd7zXZ\0broken!!", "damaged")],
)
def test_damaged_bzimages_are_explained(payload, words):
    with pytest.raises(NotAKernel, match=words):
        bzimage.unpack(bzimage_of(payload))
    with pytest.raises(NotAKernel, match="cut off"):
        bzimage.unpack(bzimage_of(payload)[:1040])


def test_a_bzimage_is_unpacked_once(tmp_path, write):
    files = Files(str(tmp_path / "store"))
    guest = tiny_guest.build(tiny_guest.HELLO)
    path = write(bzimage_of(lzma.compress(guest)))
    kernel, elf_path = files.kernel(path)
    assert kernel.entry == tiny_guest.CODE
    before = (tmp_path / elf_path).stat().st_mtime_ns
    assert files.kernel(path)[1] == elf_path
    assert (tmp_path / elf_path).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("/no/such/file", "does not exist"),
        ("relative", "absolute path"),
        ("sha256:" + "0" * 64, "upload it"),
        ("/etc/passwd", "not a kernel"),
        ("/etc", "directory"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, reference, words):
    with pytest.raises(Refusal, match=words):
        Files(str(tmp_path)).kernel(reference)
