"""dom0's side of a virtual interface: put it on a bridge and bring it up.

Done with the classic socket ioctls, because starting a program costs more than the whole operation.
"""

import asyncio
import errno
import fcntl
import os
import socket
import struct
import time

SIOCGIFINDEX, SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCBRADDIF = 0x8933, 0x8913, 0x8914, 0x89A2
IFF_UP = 1
INTERFACE_S, POLL_S = 120, 0.01


def bridge_exists(name):
    """Say whether dom0 has a bridge of this name."""
    return os.path.isdir(f"/sys/class/net/{name}/bridge")


async def wait_for_interface(name):
    """Wait for the back-end driver to make an interface, which it does just after it says ready.

    Errors: OSError ENODEV, it does not.
    """
    deadline = time.monotonic() + INTERFACE_S
    while not os.path.exists(f"/sys/class/net/{name}"):
        if time.monotonic() > deadline:
            raise OSError(errno.ENODEV, f"dom0's driver made no interface {name}")
        await asyncio.sleep(POLL_S)


def add_to_bridge(interface, bridge):
    """Put an interface on a bridge and bring it up. Errors: OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        index = _ifreq(control, SIOCGIFINDEX, interface, 0)
        _ifreq(control, SIOCBRADDIF, bridge, index)
        flags = _ifreq(control, SIOCGIFFLAGS, interface, 0) & 0xFFFF
        _ifreq(control, SIOCSIFFLAGS, interface, flags | IFF_UP)


def _ifreq(control, request, name, value):
    """Issue a request whose argument is a name and one integer; returns the integer."""
    argument = bytearray(struct.pack("=16si20x", name.encode(), value))
    fcntl.ioctl(control, request, argument)
    return struct.unpack_from("=i", argument, 16)[0]
