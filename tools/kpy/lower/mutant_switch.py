"""What `kpy.lower.mutants` compiles into a program: which check is off, and which have refused."""

from kpy import Array, noinline, static, u8, u32

MOST_CHECKS = 16384

switched_off = static(u32)  # 0: none
refused = static(Array[u8, MOST_CHECKS])


@noinline
def is_off(number: u32) -> bool:
    """Note that a check is about to refuse; tell whether it is switched off."""
    refused[number] = 1
    return switched_off == number
