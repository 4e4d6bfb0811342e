"""The ELF kernel inside a bzImage, in each way that Linux packs it, and what is refused."""

import gzip
import lzma
import struct

import lz4.block
import pytest
import zstandard

from tools.image import bzimage

ELF = b"\x7fELF" + bytes(range(256)) * 40_000  # more than one block of LZ4
SIZE = len(ELF)
SETUP_SECTORS = 3


def lz4_legacy(data):
    """Pack as `lz4 -l` does, which is what Linux's Makefile calls."""
    packed = b"\x02\x21\x4c\x18"
    for start in range(0, len(data), bzimage.LZ4_BLOCK):
        block = lz4.block.compress(data[start : start + bzimage.LZ4_BLOCK], store_size=False)
        packed += struct.pack("<I", len(block)) + block
    return packed


PACKERS = {
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    "zstd": zstandard.ZstdCompressor().compress,
    "lz4": lz4_legacy,
    "gzip": gzip.compress,
}


def image_of(packed, size=SIZE, version=0x20F):
    """Return a bzImage around a packed kernel."""
    setup = bytearray((SETUP_SECTORS + 1) * 512)
    setup[bzimage.SETUP_SECTS] = SETUP_SECTORS
    setup[bzimage.HEADER_MAGIC : bzimage.HEADER_MAGIC + 4] = b"HdrS"
    struct.pack_into("<H", setup, bzimage.VERSION, version)
    content = packed + struct.pack("<I", size)
    struct.pack_into("<II", setup, bzimage.PAYLOAD_OFFSET, 16, len(content))
    return bytes(setup) + bytes(16) + content + b"what follows"


@pytest.mark.parametrize("packer", PACKERS)
def test_each_way_of_packing_is_unpacked(packer):
    assert bzimage.elf_kernel(image_of(PACKERS[packer](ELF))) == ELF


@pytest.mark.parametrize("packer", PACKERS)
def test_a_damaged_payload_is_refused(packer):
    packed = PACKERS[packer](ELF)
    with pytest.raises(ValueError, match="damaged|unpacks to"):
        bzimage.elf_kernel(image_of(packed[: len(packed) // 2]))


def test_another_size_than_the_trailers_is_refused():
    with pytest.raises(ValueError, match=f"unpacks to {len(ELF)} bytes, its trailer says"):
        bzimage.elf_kernel(image_of(PACKERS["xz"](ELF), size=len(ELF) + 1))


def test_an_unknown_packer_is_named():
    with pytest.raises(ValueError, match="starts with 425a6839, which is none of xz, zstd, lz4"):
        bzimage.elf_kernel(image_of(b"BZh9"))


def test_what_is_no_bzimage_is_refused():
    good = image_of(PACKERS["xz"](ELF))
    with pytest.raises(ValueError, match="setup header is missing"):
        bzimage.elf_kernel(good.replace(b"HdrS", b"XXXX", 1))
    with pytest.raises(ValueError, match="0x207 does not say where the payload is"):
        bzimage.elf_kernel(image_of(b"", version=0x207))
