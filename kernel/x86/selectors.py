"""The segment selectors that the PV ABI fixes, and the core's own beside them: the last pages of
every GDT.

Source: Xen public ABI, arch-x86/xen-x86_64.h (FLAT_RING3_*) and arch-x86/xen.h
(FIRST_RESERVED_GDT_PAGE). SYSRET takes its selectors from one base, hence the order CS32, SS, CS64.
"""

RESERVED_GDT_PAGE = 14
RESERVED_GDT_BYTE = RESERVED_GDT_PAGE * 4096
GDT_LIMIT = RESERVED_GDT_BYTE + 4096 - 1

CORE_CS = 0xE008
CORE_DS = 0xE010
FLAT_RING1_CS = 0xE019
FLAT_RING3_CS32 = 0xE023
FLAT_RING3_SS = 0xE02B
FLAT_RING3_CS64 = 0xE033
FIRST_TSS = 0xE040  # 16 bytes for each processor
FIRST_LDT = 0xE240  # likewise

SYSCALL_BASE = CORE_CS  # MSR_STAR[47:32]
SYSRET_BASE = FLAT_RING3_CS32  # MSR_STAR[63:48]
