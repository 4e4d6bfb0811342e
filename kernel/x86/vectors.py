"""Exception vectors (Intel SDM vol 3 6.15) and the bits of their error codes."""

TRAP_divide_error = 0
TRAP_debug = 1
TRAP_nmi = 2
TRAP_int3 = 3
TRAP_overflow = 4
TRAP_bounds = 5
TRAP_invalid_op = 6
TRAP_no_device = 7
TRAP_double_fault = 8
TRAP_invalid_tss = 10
TRAP_no_segment = 11
TRAP_stack_error = 12
TRAP_gp_fault = 13
TRAP_page_fault = 14
TRAP_copro_error = 16
TRAP_alignment_check = 17
TRAP_machine_check = 18
TRAP_simd_error = 19
NR_EXCEPTIONS = 32

# bit n: the processor pushes an error code with exception n
HAS_ERROR_CODE = 1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 21


# Selector error codes: from an external event, about an IDT entry
XEC_EXT = 1 << 0
XEC_IDT = 1 << 1
XEC_INDEX_SHIFT = 3

DR6_EVENTS = 0xE00F  # breakpoints 0 to 3, debug register access, single step, task switch
DR6_SINGLE_STEP = 1 << 14
DR6_FIXED = 0xFFFF0FF0
DR7_FIXED = 0x400
