"""Reads .deb files: an ar archive of two packed tar archives, file tree and control files."""

import gzip
import lzma
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import zstandard
from debian.arfile import ArError, ArFile

from tools.setup.progress import fail

UNPACKERS = {
    ".xz": lzma.open,
    ".zst": lambda file: zstandard.ZstdDecompressor().stream_reader(file),
    ".gz": gzip.open,
    ".tar": lambda file: file,
}
DAMAGED = (
    ArError,
    tarfile.TarError,
    lzma.LZMAError,
    zstandard.ZstdError,
    gzip.BadGzipFile,
    EOFError,
)


def members(
    deb: Path, part: str = "data"
) -> Iterator[tuple[PurePosixPath, tarfile.TarInfo, BinaryIO | None]]:
    """Yield (path, entry, contents) of a package's file tree, paths without the leading ./

    Args: part, "control" yields the control files in its place.
    Errors: SystemExit, the file is no whole package.
    """
    try:
        with _tar(deb, part) as archive:
            for entry in archive:
                contents = archive.extractfile(entry) if entry.isreg() else None
                yield PurePosixPath(entry.name), entry, contents
    except DAMAGED as error:
        raise fail(f"{deb} is damaged ({error}); remove it, and `make build` fetches it") from None


@contextmanager
def _tar(deb: Path, part: str) -> Iterator[tarfile.TarFile]:
    with deb.open("rb") as file:
        packed = next((m for m in _parts(file) if m.name.startswith(f"{part}.tar")), None)
        if packed is None:
            raise ArError(f"it has no {part}.tar")
        unpacker = UNPACKERS.get(PurePosixPath(packed.name).suffix)
        if unpacker is None:
            raise ArError(f"{packed.name} is packed in a way that is not known")
        unpacked = unpacker(packed)
        with tarfile.open(fileobj=unpacked, mode="r|") as archive:
            yield archive
        while unpacked.read(1 << 16):
            pass  # the packer's checksum comes last


def _parts(file: BinaryIO) -> ArFile:
    try:
        return ArFile(fileobj=file)
    except OSError as error:  # what it raises for a short header
        raise ArError(str(error)) from None
