"""Canonical addresses: those whose bits 63 to 47 are all alike (Intel SDM vol 1 3.3.7.1)."""

from kpy import Tainted, inline, u64, wrapping_add

from kernel.base.guest_memory import LOWER_HALF_END


@inline
def is_canonical(address: Tainted[u64]) -> bool:
    """Tell whether a 48-bit processor can use an address."""
    return wrapping_add(address, LOWER_HALF_END) < 2 * LOWER_HALF_END
