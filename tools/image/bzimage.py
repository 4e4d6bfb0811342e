"""Takes the ELF kernel out of a vmlinuz.

A bzImage carries the ELF file compressed, at an offset that its setup header gives (boot protocol
2.08 and later), followed by four bytes of size. Debian compresses with XZ. A hypervisor that
starts the ELF directly saves the guest the decompression, which is seconds under TCG.

Source: Linux, Documentation/x86/boot.rst, "The real-mode kernel header".
"""

import lzma
import struct

MAGIC = b"HdrS"
SETUP_SECTS, HEADER_MAGIC, VERSION = 0x1F1, 0x202, 0x206
PAYLOAD_OFFSET, PAYLOAD_LENGTH = 0x248, 0x24C
XZ = b"\xfd7zXZ\0"


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
    """Return the ELF kernel of a bzImage that was compressed with XZ.

    Errors: ValueError, another compression or a damaged image.
    """
    packed = payload(image)
    if not packed.startswith(XZ):
        raise ValueError(f"the payload is not XZ: it starts with {packed[:6].hex()}")
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    elf = unpacker.decompress(packed)
    (size,) = struct.unpack("<I", packed[-4:])
    if len(elf) != size:
        raise ValueError(f"the payload unpacks to {len(elf)} bytes, its trailer says {size}")
    return elf
