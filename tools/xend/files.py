"""Files that clients upload, by content; and kernels, unpacked once.

An upload is stored under its SHA-256, so it is sent once however many domains use it. In a
configuration it is called `sha256:<hex>`; anything else is a path in dom0.
"""

import hashlib
import os
import re
import tempfile

from xend import bzimage
from xend.elf import NotAKernel, read_kernel
from xend.errors import bad_request, not_found

REFERENCE = re.compile(r"sha256:([0-9a-f]{64})")
DIRECTORY = "/var/lib/proxen"


class Files:
    """The store of uploads below one directory."""

    def __init__(self, directory=DIRECTORY):
        self.uploads = os.path.join(directory, "files")
        self.unpacked = os.path.join(directory, "unpacked")
        self.disks = os.path.join(directory, "disks")
        for path in (self.uploads, self.unpacked, self.disks):
            os.makedirs(path, exist_ok=True)

    async def receive(self, chunks):
        """Store what an asynchronous iterator of bytes yields; returns its description."""
        digest = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=self.uploads, delete=False) as file:
            try:
                async for chunk in chunks:
                    digest.update(chunk)
                    file.write(chunk)
            except BaseException:
                os.unlink(file.name)
                raise
        os.replace(file.name, os.path.join(self.uploads, digest.hexdigest()))
        return self.describe(f"sha256:{digest.hexdigest()}")

    def describe(self, reference):
        """Return an upload's id and size. Errors: Refusal 404."""
        path = self.path(reference, "file")
        return {"id": reference, "size_bytes": os.path.getsize(path)}

    def path(self, reference, what):
        """Return the path in dom0 of an upload or a file of dom0.

        Errors: Refusal, there is no such file.
        """
        match = REFERENCE.fullmatch(reference)
        path = os.path.join(self.uploads, match[1]) if match else reference
        if match and not os.path.exists(path):
            message = (
                f"The {what} {reference[:19]}… is not here; upload it with POST /api/v1/files."
            )
            raise not_found("no_such_file", message)
        if not match and not reference.startswith("/"):
            message = (
                f"The {what} '{reference}' is neither an upload (sha256:…) nor an absolute path "
                "in dom0; correct it."
            )
            raise bad_request("no_such_file", message)
        if not os.path.exists(path):
            message = (
                f"The {what} '{reference}' does not exist in dom0; upload it, or correct the path."
            )
            raise not_found("no_such_file", message)
        return path

    def kernel(self, reference):
        """Return `(Kernel, path of its ELF file)`.

        Errors: Refusal, there is no such file or it is no kernel.
        """
        path = self.path(reference, "kernel")
        try:
            path = self._elf(path)
            return read_kernel(path), path
        except NotAKernel as error:
            message = f"'{_short(reference)}' is not a kernel that can be booted: {error}."
            raise bad_request("not_a_kernel", message) from None
        except IsADirectoryError:
            raise bad_request("not_a_kernel", f"'{reference}' is a directory.") from None

    def _elf(self, path):
        """Return the path of the ELF file in a kernel image, unpacking a bzImage the first time."""
        with open(path, "rb") as file:
            if not bzimage.is_bzimage(file.read(1024)):
                return path
            status = os.fstat(file.fileno())
            key = f"{path}:{status.st_mtime_ns}:{status.st_size}"
            cached = os.path.join(self.unpacked, hashlib.sha256(key.encode()).hexdigest())
            if not os.path.exists(cached):
                file.seek(0)
                _write_whole(cached, bzimage.unpack(file.read()))
        return cached


def _write_whole(path, data):
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.replace(path + ".new", path)


def _short(reference):
    return reference[:19] + "…" if REFERENCE.fullmatch(reference) else reference
