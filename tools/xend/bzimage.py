"""Unpack the kernel inside a Linux bzImage.

A bzImage starts with real-mode code, whose header says where the compressed ELF file lies.
Source: Linux boot protocol 2.08 (payload_offset, payload_length).
"""

import bz2
import lzma
import shutil
import struct
import subprocess
import zlib

from xend.elf import NotAKernel

HEADER_MAGIC_AT, HEADER_MAGIC = 0x202, b"HdrS"
SETUP_SECTS_AT, PAYLOAD_AT = 0x1F1, 0x248
SECTOR_BYTES = 512


def is_bzimage(head):
    """Say whether a file's first KiB is that of a bzImage."""
    return head[HEADER_MAGIC_AT : HEADER_MAGIC_AT + 4] == HEADER_MAGIC


def unpack(image):
    """Return the ELF file inside a bzImage, given as bytes.

    Errors: NotAKernel, it is damaged or packed in a way that cannot be read here.
    """
    offset, length = struct.unpack_from("<II", image, PAYLOAD_AT)
    start = ((image[SETUP_SECTS_AT] or 4) + 1) * SECTOR_BYTES + offset
    payload = image[start : start + length]
    if not length or len(payload) < length:
        raise NotAKernel("its packed kernel is cut off; was the file copied completely?")
    for magic, method in _METHODS.items():
        if payload.startswith(magic):
            return _unpack_by(method, payload)
    raise NotAKernel(f"its packed kernel starts with unknown bytes {payload[:4].hex()}")


def _unpack_by(method, payload):
    try:
        return method(payload)
    except (
        zlib.error,
        lzma.LZMAError,
        OSError,
        ValueError,
        subprocess.CalledProcessError,
    ) as error:
        raise NotAKernel(f"its packed kernel is damaged ({error})") from None


def _gzip(payload):
    return zlib.decompressobj(wbits=31).decompress(payload)


def _xz(payload):
    return lzma.LZMADecompressor().decompress(payload)


def _bzip2(payload):
    return bz2.BZ2Decompressor().decompress(payload)


def _by_program(name):
    """Python 3.11 has no zstd or lz4, so Debian's programs of these names unpack them."""

    def run(payload):
        if not shutil.which(name):
            raise NotAKernel(f"it is packed with {name}; install the package {name} in dom0")
        # Linux appends the unpacked size, which the programs would take for a second frame.
        command = [name, "-d", "-c"]
        done = subprocess.run(command, input=payload[:-4], stdout=subprocess.PIPE, check=True)
        return done.stdout

    return run


_METHODS = {
    b"\x1f\x8b": _gzip,
    b"\xfd7zXZ\0": _xz,
    b"\x5d\0\0": _xz,
    b"BZh": _bzip2,
    b"\x28\xb5\x2f\xfd": _by_program("zstd"),
    b"\x02\x21\x4c\x18": _by_program("lz4"),
}
