"""The xenstore wire protocol: packets, and how payloads are packed.

Source: Xen public ABI, io/xs_wire.h, xsd_sockmsg: four little-endian u32 (type, req_id, tx_id,
        len), then the payload.
"""

import errno
import struct
from typing import NamedTuple

import xen_codecs as abi

HEADER = struct.Struct("<IIII")

# The errors that the protocol can name. Anything else is reported as EINVAL.
XSD_ERRORS = [
    "EINVAL",
    "EACCES",
    "EEXIST",
    "EISDIR",
    "ENOENT",
    "ENOMEM",
    "ENOSPC",
    "EIO",
    "ENOTEMPTY",
    "ENOSYS",
    "EROFS",
    "EBUSY",
    "EAGAIN",
    "EISCONN",
    "E2BIG",
    "EPERM",
]


class ProtocolError(Exception):
    """The peer broke the protocol so badly that the connection must end."""


class Packet(NamedTuple):
    """One message, request or reply."""

    type: int
    req_id: int
    tx_id: int
    payload: bytes

    def encode(self):
        """Return the packet's bytes."""
        header = HEADER.pack(self.type, self.req_id, self.tx_id, len(self.payload))
        return header + self.payload

    def strings(self):
        """Split a payload of NUL-terminated strings."""
        return split_strings(self.payload)


class Decoder:
    """Turns a stream of bytes into packets."""

    def __init__(self):
        self.buffer = bytearray()

    def feed(self, data):
        """Take more bytes."""
        self.buffer += data

    def next(self):
        """Return the next complete Packet, or None.

        Errors: ProtocolError, the payload is longer than XENSTORE_PAYLOAD_MAX.
        """
        if len(self.buffer) < HEADER.size:
            return None
        kind, req_id, tx_id, length = HEADER.unpack_from(self.buffer)
        if length > abi.XENSTORE_PAYLOAD_MAX:
            raise ProtocolError(f"a payload of {length} bytes")
        end = HEADER.size + length
        if len(self.buffer) < end:
            return None
        payload = bytes(self.buffer[HEADER.size : end])
        del self.buffer[:end]
        return Packet(kind, req_id, tx_id, payload)


def split_strings(payload):
    """Return the strings in a payload; the last may lack its NUL."""
    parts = payload.split(b"\0")
    if parts and parts[-1] == b"":
        parts.pop()
    return parts


def join_strings(*strings):
    """Return a payload in which each string ends with NUL."""
    return b"".join(part + b"\0" for part in strings)


def error_payload(number):
    """Return the payload of XS_ERROR for an errno."""
    name = errno.errorcode.get(number, "EINVAL")
    return (name if name in XSD_ERRORS else "EINVAL").encode() + b"\0"


def error_number(payload):
    """Return the errno that an XS_ERROR payload names."""
    return getattr(errno, payload.rstrip(b"\0").decode(errors="replace"), errno.EINVAL)
