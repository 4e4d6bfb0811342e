"""A guest's memory for in-process tests of the core: one stretch of addresses, everything else
faults.
"""

import ctypes


class GuestMemory:
    """Bytes at a guest address, reached by the core's copy functions."""

    def __init__(self, base: int, size: int = 4096) -> None:
        self.base = base
        self.bytes = bytearray(size)

    def place(self, address: int, size: int) -> slice | None:
        """Return where in `bytes` a guest address is, None when it is outside."""
        offset = address - self.base
        if offset < 0 or offset + size > len(self.bytes):
            return None
        return slice(offset, offset + size)

    def copy_from_guest(self, to: int, address: int, size: int) -> int:
        """Stand in for kernel.base.guest_memory.copy_bytes_from_guest."""
        place = self.place(address, size)
        if place is None:
            return size
        ctypes.memmove(to, bytes(self.bytes[place]), size)
        return 0

    def copy_to_guest(self, address: int, from_: int, size: int) -> int:
        """Stand in for kernel.base.guest_memory.copy_bytes_to_guest."""
        place = self.place(address, size)
        if place is None:
            return size
        self.bytes[place] = ctypes.string_at(from_, size)
        return 0

    def words(self, address: int, count: int) -> list[int]:
        """Return 64-bit words at a guest address."""
        place = self.place(address, 8 * count)
        assert place is not None, f"{address:#x} is outside the guest's memory"
        data = self.bytes[place]
        return [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]

    def write(self, address: int, data: bytes) -> None:
        """Put bytes at a guest address."""
        place = self.place(address, len(data))
        assert place is not None, f"{address:#x} is outside the guest's memory"
        self.bytes[place] = data
