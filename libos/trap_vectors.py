"""The processor's exceptions, by the manuals' names. Source: Intel SDM vol 3 6.3.1."""

NR_TRAPS = 20
TRAP_breakpoint = 3
TRAP_overflow = 4
TRAP_general_protection = 13
TRAP_page_fault = 14
HAS_ERROR_CODE = (8, 10, 11, 12, 13, 14, 17)
NMI = 2
VECTOR_upcall = 0x100

NAMES = (
    b"#DE divide error",
    b"#DB debug",
    b"NMI",
    b"#BP breakpoint",
    b"#OF overflow",
    b"#BR bound range",
    b"#UD invalid opcode",
    b"#NM no coprocessor",
    b"#DF double fault",
    b"coprocessor segment",
    b"#TS invalid TSS",
    b"#NP segment not present",
    b"#SS stack fault",
    b"#GP general protection",
    b"#PF page fault",
    b"vector 15",
    b"#MF x87 error",
    b"#AC alignment check",
    b"#MC machine check",
    b"#XM SIMD error",
)
