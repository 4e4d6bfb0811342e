"""Addresses that a guest has no business to pass."""

UNMAPPED = 0x1000  # nothing is mapped there
HYPERVISOR = 0xFFFF_82D0_4020_0000  # in the hypervisor's own half
NON_CANONICAL = 0x8000_0000_0000_0000
NO_DOMAIN = 4711
NO_FRAME = 0xF_FFFF_FFFF  # beyond all memory
