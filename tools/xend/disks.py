"""Virtual disks: which file or device backs one, and the loop device that makes a file a device.

An uploaded image is a template: each domain gets its own copy, which stays after the domain's end.
A file or device of dom0 is used as it is, and by one writer at a time.
"""

import errno
import fcntl
import glob
import os
import shutil
import stat
import struct
from dataclasses import dataclass, replace

from xend.errors import bad_request, conflict
from xend.files import REFERENCE

LOOP_CTL_GET_FREE, LOOP_CONFIGURE = 0x4C82, 0x4C0A
LO_FLAGS_READ_ONLY, LO_FLAGS_AUTOCLEAR = 1, 4
LOOP_CONFIG_BYTES, LO_FLAGS_AT, LO_NAME_AT = 304, 8 + 52, 8 + 56
LOOP_ATTEMPTS = 16
SECTOR_BYTES = 512
STABLE_NAMES = "/dev/disk/by-serial/*"  # /etc/proxen/disks makes them


@dataclass
class OpenDisk:
    """A disk that is ready for the block back end. `fd` keeps its loop device until the domain's
    end.
    """

    disk: object
    path: str
    device: str
    number: int
    fd: int

    def close(self):
        """Let the loop device go, once the back end does too."""
        os.close(self.fd)


class Disks:
    """Opens and closes disks; `users` is {real path: [(domain name, writable)]}."""

    def __init__(self, files):
        self.files = files
        self.users = {}

    def path_of(self, domain_name, disk):
        """Return the file or device behind a disk; the copy of an upload may not exist yet."""
        if REFERENCE.fullmatch(disk.target):
            self.files.path(disk.target, "disk")
            return os.path.join(self.files.disks, f"{domain_name}-{disk.vdev}.img")
        return os.path.realpath(self.files.path(disk.target, "disk"))

    def named(self, disk):
        """Return a disk, its target by a name that it keeps: sda may soon be another one."""
        path = os.path.realpath(disk.target)
        for name in sorted(glob.glob(STABLE_NAMES)):
            if path.startswith("/dev/") and os.path.realpath(name) == path:
                return replace(disk, target=name)
        return disk

    def check(self, domain_name, disk):
        """Refuse a disk that is missing, no disk at all, or in use."""
        path = self.path_of(domain_name, disk)
        source = self.files.path(disk.target, "disk")
        mode = os.stat(source).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise bad_request("bad_disk", f"'{disk.target}' is neither a file nor a block device.")
        if stat.S_ISREG(mode) and os.path.getsize(source) < SECTOR_BYTES:
            raise bad_request(
                "bad_disk", f"'{disk.target}' is smaller than one sector; is it a disk image?"
            )
        for user, writable in self.users.get(path, ()):
            if writable or disk.access == "rw":
                message = (
                    f"The disk '{disk.target}' is busy: domain '{user}' uses it, and a writer must "
                    f"be alone. Destroy '{user}' first, or give both read-only access."
                )
                raise conflict("disk_busy", message)
        if stat.S_ISBLK(mode) and disk.access == "rw" and mounted(path):
            message = (
                f"The disk '{disk.target}' is busy: dom0 has it mounted. "
                "Unmount it, or use it read-only."
            )
            raise conflict("disk_busy", message)

    def open(self, domain_name, disk, fresh):
        """Make a disk ready; returns an OpenDisk. Context: a worker thread, copying may take long.

        Args:   fresh: copy an upload anew; not for a domain that reboots, which keeps what it
                wrote.
        Errors: OSError.
        """
        path = self.path_of(domain_name, disk)
        if REFERENCE.fullmatch(disk.target) and fresh:
            shutil.copyfile(self.files.path(disk.target, "disk"), path)

        if stat.S_ISBLK(os.stat(path).st_mode):
            return self.adopt(domain_name, disk, path, path)
        device, fd = attach_loop(path, disk.access == "ro")
        try:
            return self.adopt(domain_name, disk, path, device)
        finally:
            os.close(fd)

    def adopt(self, domain_name, disk, path, device):
        """Note the user of a device that is there already, over the file at `path`."""
        fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
        self.users.setdefault(path, []).append((domain_name, disk.access == "rw"))
        return OpenDisk(disk, path, device, os.fstat(fd).st_rdev, fd)

    def close(self, domain_name, opened):
        """Let a disk go."""
        self.users[opened.path].remove((domain_name, opened.disk.access == "rw"))
        opened.close()


def attach_loop(path, read_only):
    """Return `(device, fd)` of a new loop device over a file; it vanishes with its last user."""
    backing = os.open(path, os.O_RDONLY if read_only else os.O_RDWR)
    try:
        for _ in range(LOOP_ATTEMPTS):
            device, fd = _free_loop()
            try:
                fcntl.ioctl(fd, LOOP_CONFIGURE, _loop_config(backing, path, read_only))
                return device, fd
            except OSError as error:
                os.close(fd)
                if error.errno != errno.EBUSY:
                    raise
        raise OSError(errno.EBUSY, "no free loop device", path)
    finally:
        os.close(backing)


def _free_loop():
    control = os.open("/dev/loop-control", os.O_RDWR)
    try:
        device = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
    finally:
        os.close(control)
    return device, os.open(device, os.O_RDWR | os.O_CLOEXEC)


def _loop_config(backing, path, read_only):
    """Return a struct loop_config: fd, block size, loop_info64."""
    config = bytearray(LOOP_CONFIG_BYTES)
    struct.pack_into("=II", config, 0, backing, SECTOR_BYTES)
    flags = LO_FLAGS_AUTOCLEAR | (LO_FLAGS_READ_ONLY if read_only else 0)
    struct.pack_into("=I", config, LO_FLAGS_AT, flags)
    struct.pack_into("=63s", config, LO_NAME_AT, path.encode()[-63:])
    return config


def mounted(device):
    """Say whether dom0 has a block device mounted."""
    number = os.stat(device).st_rdev
    with open("/proc/self/mountinfo") as mounts:
        fields = (line.split()[2] for line in mounts)
        return f"{os.major(number)}:{os.minor(number)}" in fields


def virtual_device(vdev):
    """Return the number by which the block protocol calls a disk, such as 51712 for xvda.

    Source: Xen public ABI, io/blkif.h, virtual-device: xvd is major 202 with 16 minors a disk, sd
            major 8 likewise, hd majors 3, 22, 33 and 34 with 64 minors.
    """
    kind = vdev.rstrip("0123456789")
    letter, partition = ord(kind[-1]) - ord("a"), int(vdev[len(kind) :] or 0)
    if kind.startswith("hd"):
        return (3, 22, 33, 34)[letter // 2] << 8 | letter % 2 << 6 | partition
    if kind.startswith("xvd") and (letter > 15 or partition > 15):
        return 1 << 28 | letter << 8 | partition
    return (202 if kind.startswith("xvd") else 8) << 8 | letter << 4 | partition
