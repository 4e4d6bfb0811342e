"""Writes initramfs archives: cpio in the "newc" form, all root's, device nodes too, without root.

Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

import stat
from pathlib import Path

TRAILER = "TRAILER!!!"


class Cpio:
    """An archive in the making. Equal additions give equal bytes: no times, no owners."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._inode = 0
        self._folders: set[str] = set()

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file, and the folders that lead to it."""
        self._parents(name)
        self._add(name, stat.S_IFREG | mode, data)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self._parents(name)
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def folder(self, name: str, mode: int = 0o755) -> None:
        """Add a folder once, and those that lead to it."""
        if name in self._folders:
            return
        self._folders.add(name)
        self._parents(name)
        self._add(name, stat.S_IFDIR | mode, b"")

    def character_device(self, name: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a character device node."""
        self._parents(name)
        self._add(name, stat.S_IFCHR | mode, b"", (major, minor))

    def bytes(self) -> bytes:
        """Return the finished archive."""
        trailer = self._record(TRAILER, 0, b"", (0, 0), inode=0)
        return b"".join([*self._parts, trailer])

    def _parents(self, name: str) -> None:
        parent = str(Path(name).parent)
        if parent != ".":
            self.folder(parent)

    def _add(self, name: str, mode: int, data: bytes, device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        self._parts.append(self._record(name, mode, data, device, self._inode))

    @staticmethod
    def _record(name: str, mode: int, data: bytes, device: tuple[int, int], inode: int) -> bytes:
        """Return one entry: 8-digit hexadecimal fields, name, data; padded to 4 bytes."""
        encoded = name.encode() + b"\0"
        nlink, uid, gid, mtime, check = 1, 0, 0, 0, 0
        fields = (
            inode,
            mode,
            uid,
            gid,
            nlink,
            mtime,
            len(data),
            0,
            0,
            *device,
            len(encoded),
            check,
        )
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        return _padded(header + encoded) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
