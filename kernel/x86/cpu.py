"""Single instructions as functions. Everything else in the core reaches the processor through
these.

Unit tests replace them by Python callables, so nothing here may be more than an instruction or two.
"""

from kpy import Never, Ptr, asm, extern, struct, u8, u16, u32, u64


@struct
class CpuidResult:
    eax: u32
    ebx: u32
    ecx: u32
    edx: u32


@extern
def cpuid_into(leaf: u32, subleaf: u32, result: Ptr[CpuidResult]) -> None:
    """Execute CPUID (instructions.asm: rbx is hard to come by in inline assembly)."""


@asm("mov $0, rsp", "=r", sideeffect=True)
def read_rsp() -> u64: ...


@asm("mov $0, rbp", "=r", sideeffect=True)
def read_rbp() -> u64: ...


@asm("mov $0, cr0", "=r")
def read_cr0() -> u64: ...


@asm("mov cr0, $0", "r,~{memory}")
def write_cr0(value: u64) -> None: ...


@asm("clts", "~{memory}")
def clts() -> None: ...


@asm("mov $0, cr2", "=r")
def read_cr2() -> u64: ...


@asm("mov $0, cr3", "=r")
def read_cr3() -> u64: ...


@asm("mov cr3, $0", "r,~{memory}")
def write_cr3(value: u64) -> None: ...


@asm("mov $0, cr4", "=r")
def read_cr4() -> u64: ...


@asm("mov cr4, $0", "r,~{memory}")
def write_cr4(value: u64) -> None: ...


@asm("rdmsr\nshl rdx, 32\nor rax, rdx", "={rax},{ecx},~{rdx},~{flags}")
def rdmsr(msr: u32) -> u64: ...


@asm("mov rdx, rax\nshr rdx, 32\nwrmsr", "{ecx},{rax},~{rdx},~{flags},~{memory}")
def wrmsr(msr: u32, value: u64) -> None: ...


@asm("rdtsc\nshl rdx, 32\nor rax, rdx", "={rax},~{rdx},~{flags}")
def rdtsc() -> u64: ...


@asm("invlpg byte ptr [$0]", "r,~{memory}")
def invlpg(address: u64) -> None: ...


@asm("wbinvd", "~{memory}")
def wbinvd() -> None: ...


@asm("pause", "~{memory}")
def pause() -> None: ...


@asm("cli", "~{memory}")
def disable_interrupts() -> None: ...


@asm("sti\nhlt\ncli", "~{memory}")
def wait_for_interrupt() -> None:
    """Sleep until one interrupt was served. `sti` holds them off until `hlt` has begun."""


@asm("cli\nhlt", "~{memory}")
def halt() -> None: ...


def halt_forever() -> Never:
    """Stop this processor for good; only an NMI still reaches it."""
    while True:
        halt()


@asm("in al, dx", "={al},{dx}")
def in8(port: u16) -> u8: ...


@asm("in ax, dx", "={ax},{dx}")
def in16(port: u16) -> u16: ...


@asm("in eax, dx", "={eax},{dx}")
def in32(port: u16) -> u32: ...


@asm("out dx, al", "{dx},{al},~{memory}")
def out8(port: u16, value: u8) -> None: ...


@asm("out dx, ax", "{dx},{ax},~{memory}")
def out16(port: u16, value: u16) -> None: ...


@asm("out dx, eax", "{dx},{eax},~{memory}")
def out32(port: u16, value: u32) -> None: ...


@asm("lgdt [$0]", "r,~{memory}")
def lgdt(pointer: u64) -> None: ...


@asm("lidt [$0]", "r,~{memory}")
def lidt(pointer: u64) -> None: ...


@asm("lldt $0", "r,~{memory}")
def lldt(selector: u16) -> None: ...


@asm("ltr $0", "r,~{memory}")
def ltr(selector: u16) -> None: ...


@asm("swapgs", "~{memory}")
def swapgs() -> None: ...


@asm("mov ${0:k}, ds", "=r")
def read_ds() -> u32: ...


@asm("mov ${0:k}, es", "=r")
def read_es() -> u32: ...


@asm("mov ${0:k}, fs", "=r")
def read_fs() -> u32: ...


@asm("mov ${0:k}, gs", "=r")
def read_gs() -> u32: ...


@asm("mov $0, dr6", "=r")
def read_dr6() -> u64: ...


@asm("mov dr6, $0", "r")
def write_dr6(value: u64) -> None: ...


@asm("mov dr7, $0", "r")
def write_dr7(value: u64) -> None: ...


@asm("mov dr0, $0", "r")
def write_dr0(value: u64) -> None: ...


@asm("mov dr1, $0", "r")
def write_dr1(value: u64) -> None: ...


@asm("mov dr2, $0", "r")
def write_dr2(value: u64) -> None: ...


@asm("mov dr3, $0", "r")
def write_dr3(value: u64) -> None: ...


@asm("xsave64 [$0]", "r,{eax},{edx},~{memory}")
def xsave(area: u64, low_mask: u32, high_mask: u32) -> None: ...


@asm("xsaveopt64 [$0]", "r,{eax},{edx},~{memory}")
def xsaveopt(area: u64, low_mask: u32, high_mask: u32) -> None: ...


@asm("fxsave64 [$0]", "r,~{memory}")
def fxsave(area: u64) -> None: ...


@asm("xsetbv", "{ecx},{eax},{edx},~{memory}")
def xsetbv(register: u32, low: u32, high: u32) -> None: ...
