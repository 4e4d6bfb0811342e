"""128-bit arithmetic that the language has no type for."""

from kpy import asm, u32, u64


@asm("mul rdx\nshrd rax, rdx, 32", "={rax},{rax},{rdx},~{rdx},~{flags}", sideeffect=False)
def multiply_high_32(a: u64, b: u64) -> u64:
    """Return bits 32 to 95 of a * b."""


def multiply_shift_32(a: u64, b: u32) -> u64:
    """Return a * b / 2^32, exactly, as long as the result fits 64 bits."""
    return multiply_high_32(a, u64(b))
