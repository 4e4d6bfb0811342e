"""Takes the ELF kernel out of a vmlinuz.

A bzImage carries the ELF file compressed, at an offset that its setup header gives (boot protocol
2.08 and later), followed by four bytes of size. Debian compresses with XZ, since Linux 6.10 with
zstd, and its cloud kernel with LZ4. A hypervisor that starts the ELF directly saves the guest the
decompression, which is seconds under TCG.

Source: Linux, Documentation/x86/boot.rst, "The real-mode kernel header"; the LZ4 project,
"LZ4 frame format", "Legacy frame".
"""

import gzip
import lzma
import struct
from collections.abc import Callable

import lz4.block
import zstandard

MAGIC = b"HdrS"
SETUP_SECTS, HEADER_MAGIC, VERSION = 0x1F1, 0x202, 0x206
PAYLOAD_OFFSET, PAYLOAD_LENGTH = 0x248, 0x24C
DAMAGED = (lzma.LZMAError, zstandard.ZstdError, lz4.block.LZ4BlockError, OSError, EOFError)
LZ4_BLOCK = 8 << 20  # what a block of a legacy frame unpacks to, at most


def payload(image: bytes) -> bytes:
    """Return the compressed kernel inside a bzImage.

    Errors: ValueError, it is no bzImage, or older than boot protocol 2.08.
    """
    if image[HEADER_MAGIC : HEADER_MAGIC + 4] != MAGIC:
        raise ValueError("not a bzImage: the setup header is missing")
    (version,) = struct.unpack_from("<H", image, VERSION)
    if version < 0x208:
        raise ValueError(f"boot protocol {version:#x} does not say where the payload is")
    setup_sectors = image[SETUP_SECTS] or 4
    offset, length = struct.unpack_from("<II", image, PAYLOAD_OFFSET)
    start = (setup_sectors + 1) * 512 + offset
    return image[start : start + length]


def elf_kernel(image: bytes) -> bytes:
    """Return the ELF kernel of a bzImage.

    Errors: ValueError, an unknown compression or a damaged image.
    """
    packed, (size,) = payload(image)[:-4], struct.unpack("<I", payload(image)[-4:])
    unpacker = next((u for magic, u in UNPACKERS.items() if packed.startswith(magic)), None)
    if unpacker is None:
        known = ", ".join(u.__name__.removeprefix("_") for u in UNPACKERS.values())
        raise ValueError(f"the payload starts with {packed[:6].hex()}, which is none of {known}")
    try:
        elf = unpacker(packed, size)
    except DAMAGED as error:
        raise ValueError(f"the payload is damaged: {error}") from None
    if len(elf) != size:
        raise ValueError(f"the payload unpacks to {len(elf)} bytes, its trailer says {size}")
    return elf


def _xz(packed: bytes, _size: int) -> bytes:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(packed)


def _zstd(packed: bytes, size: int) -> bytes:
    return zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)


def _gzip(packed: bytes, _size: int) -> bytes:
    return gzip.decompress(packed)


def _lz4(packed: bytes, _size: int) -> bytes:
    """Unpack a legacy frame: a magic number, then blocks, each behind its packed size."""
    parts, at = [], 4
    while at + 4 <= len(packed):
        (length,) = struct.unpack_from("<I", packed, at)
        block = packed[at + 4 : at + 4 + length]
        parts.append(lz4.block.decompress(block, uncompressed_size=LZ4_BLOCK))
        at += 4 + length
    return b"".join(parts)


UNPACKERS: dict[bytes, Callable[[bytes, int], bytes]] = {
    b"\xfd7zXZ\0": _xz,
    b"\x28\xb5\x2f\xfd": _zstd,
    b"\x02\x21\x4c\x18": _lz4,
    b"\x1f\x8b": _gzip,
}
