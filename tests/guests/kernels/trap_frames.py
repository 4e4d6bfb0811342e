"""What the handlers in traps.asm note of a trap."""

from kpy import static, struct, u64

from libos.trap_vectors import HAS_ERROR_CODE  # noqa: F401  for traps.asm

VECTORS = (0, 1, 3, 6, 7, 13, 14, 0x77, 0x78)
NOTHING = 0xFFFF


@struct
class Seen:
    count: u64
    vector: u64
    rcx: u64
    r11: u64
    error_code: u64
    rip: u64
    cs: u64
    rflags: u64
    rsp: u64
    ss: u64


seen = static(Seen, symbol="seen")
