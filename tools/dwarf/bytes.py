"""A cursor over bytes, with DWARF's number formats. Source: DWARF 5, 7.6."""

import struct

SIZES = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}


class Truncated(ValueError):
    """The bytes end in the middle of something, or make no sense."""


class Cursor:
    """Reads a memoryview or bytes from `at` on. Errors of every method: Truncated."""

    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def number(self, size):
        """Read an unsigned number of 1, 2, 4 or 8 bytes, or any other count."""
        end = self.at + size
        if end > len(self.data):
            raise Truncated("the table is cut off")
        form = SIZES.get(size)
        if form:
            (value,) = struct.unpack_from(form, self.data, self.at)
        else:
            value = int.from_bytes(self.data[self.at : end], "little")
        self.at = end
        return value

    def uleb(self):
        """Read an unsigned number of seven bits a byte."""
        data, at, value, shift = self.data, self.at, 0, 0
        try:
            while True:
                byte = data[at]
                at += 1
                value |= (byte & 0x7F) << shift
                if byte < 0x80:
                    self.at = at
                    return value
                shift += 7
        except IndexError:
            raise Truncated("the table is cut off") from None

    def sleb(self):
        """Read a signed number of seven bits a byte."""
        start = self.at
        value = self.uleb()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if value >> (bits - 1) & 1 else value

    def string(self):
        """Read text up to a zero byte."""
        text = string_at(self.data, self.at)
        self.at += len(text) + 1
        return text.decode(errors="replace")


def string_at(data, offset):
    """Return the bytes of a zero-terminated string at an offset; empty beyond the end."""
    end = offset
    while end < len(data) and data[end]:
        end += 1
    return bytes(data[offset:end])
