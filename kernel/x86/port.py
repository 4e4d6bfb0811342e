"""I/O ports by size, for those who learn the size at run time."""

from kpy import u8, u16, u32

from kernel.x86.cpu import in8, in16, in32, out8, out16, out32


def read_port(port: u16, size: u32) -> u32:
    """Read 1, 2 or 4 bytes from a port of the machine."""
    match size:
        case 1:
            return u32(in8(port))
        case 2:
            return u32(in16(port))
        case _:
            return in32(port)


def write_port(port: u16, size: u32, value: u32) -> None:
    """Write the low 1, 2 or 4 bytes of `value` to a port of the machine."""
    match size:
        case 1:
            out8(port, u8(value & 0xFF))
        case 2:
            out16(port, u16(value & 0xFFFF))
        case _:
            out32(port, value)
