"""FPU, SSE and AVX state: saved when a vCPU leaves a processor, loaded when it comes to one that
holds another's.

The core itself uses none of these registers. A vCPU that returns to the processor on which its
state still is loads nothing. XCR0 is the guest's while it runs, within `xcr0_mask`; for saving,
everything is enabled, so nothing that a guest hid is lost. CR0.TS is set only while a guest wants
it (`fpu_taskswitch`, its cr0). Source: Intel SDM vol 1 chapter 13.
"""

from kpy import (
    Array,
    Ptr,
    Slice,
    Tainted,
    extern,
    fill,
    inline,
    static,
    store,
    truncate,
    trusted,
    u8,
    u16,
    u32,
    u64,
)

from kernel.base.ids import PAGE_SIZE, Vaddr
from kernel.state.vcpu import Vcpu
from kernel.x86.bits import CR0_TS
from kernel.x86.cpu import clts, fxsave, read_cr0, write_cr0, xsave, xsaveopt, xsetbv
from kernel.x86.features import cpuid, has_xsave, has_xsaveopt
from kernel.x86.percpu import Pcpu, this_cpu

XSTATE_X87 = 1 << 0
XSTATE_SSE = 1 << 1
XSTATE_AVX = 1 << 2
XSTATE_AVX512 = 7 << 5
SUPPORTED = XSTATE_X87 | XSTATE_SSE | XSTATE_AVX | XSTATE_AVX512
DEFAULT_FCW = 0x37F
DEFAULT_MXCSR = 0x1F80
MXCSR_OFFSET = 24
XSTATE_BV_OFFSET = 512

xcr0_mask = static(u64, XSTATE_X87 | XSTATE_SSE)  # components that guests may use


@extern
def xrstor_safe(area: u64, mask: u64) -> u64:
    """Load state; 1 when the area is malformed (fault_safe.asm)."""


@extern
def fxrstor_safe(area: u64) -> u64: ...


def fpu_init() -> None:
    """Choose the components that guests may use: those whose state fits one page. Context: boot,
    once.
    """
    global xcr0_mask
    if has_xsave:
        area = cpuid(0xD, 0)
        xcr0_mask = (u64(area.eax) | u64(area.edx) << 32) & SUPPORTED


def fpu_init_cpu(cpu: Ptr[Pcpu]) -> None:
    """Enable every component on this processor."""
    if has_xsave:
        load_xcr0(cpu, xcr0_mask)


def load_xcr0(cpu: Ptr[Pcpu], value: u64) -> None:
    """Load XCR0 unless it holds the value already."""
    if cpu.xcr0 != value:
        cpu.xcr0 = value
        xsetbv(0, truncate(u32, value), truncate(u32, value >> 32))


def fpu_init_vcpu(v: Ptr[Vcpu], page: Vaddr) -> None:
    """Give a new vCPU a save area, a page of the core's, in the initial state."""
    v.xsave_area = u64(page)
    v.xcr0 = XSTATE_X87 | XSTATE_SSE
    fpu_reset(v)


def fpu_reset(v: Ptr[Vcpu]) -> None:
    """Put a vCPU that runs nowhere into the initial state."""
    fill(Slice[u8](Ptr[u8](v.xsave_area), PAGE_SIZE), 0)
    store(Ptr[u16](v.xsave_area), DEFAULT_FCW)
    store(Ptr[u32](v.xsave_area + MXCSR_OFFSET), DEFAULT_MXCSR)
    fpu_forget(v)


def fpu_fxsave_view(v: Ptr[Vcpu]) -> Ptr[Tainted[Array[u8, 512]]]:
    """Return the x87 and SSE part of a stopped vCPU's state, in FXSAVE's layout.

    Whoever writes there calls `fpu_changed` afterwards.
    """
    return Ptr[Tainted[Array[u8, 512]]](v.xsave_area)


def fpu_changed(v: Ptr[Vcpu]) -> None:
    """Note that somebody wrote x87 and SSE state into a stopped vCPU's area: it is what counts from
    now on.
    """
    store(Ptr[u64](v.xsave_area + XSTATE_BV_OFFSET), XSTATE_X87 | XSTATE_SSE)
    fpu_forget(v)


def fpu_forget(v: Ptr[Vcpu]) -> None:
    """No processor's registers hold this vCPU's state any more."""
    v.fpu_cpu = 0


@inline
def set_ts(cpu: Ptr[Pcpu], on: bool) -> None:
    """Set or clear CR0.TS unless it is so already."""
    if cpu.ts_is_set != on:
        cpu.ts_is_set = on
        if on:
            write_cr0(read_cr0() | CR0_TS)
        else:
            clts()


def fpu_set_ts(v: Ptr[Vcpu], on: bool) -> None:
    """Set or clear the running vCPU's CR0.TS: with it, FPU instructions raise #NM."""
    v.fpu_ts = on
    set_ts(this_cpu(), on)


def fpu_set_xcr0(v: Ptr[Vcpu], value: Tainted[u64]) -> bool:
    """Set the running vCPU's XCR0; false when the processor would refuse the value."""
    if not has_xsave or value & XSTATE_X87 == 0 or value & ~xcr0_mask != 0:
        return False
    if value & XSTATE_AVX != 0 and value & XSTATE_SSE == 0:
        return False
    if value & XSTATE_AVX512 != 0 and (
        value & XSTATE_AVX512 != XSTATE_AVX512 or value & XSTATE_AVX == 0
    ):
        return False
    v.xcr0 = trusted(value)  # bits that the processor has, in a combination that it allows
    load_xcr0(this_cpu(), v.xcr0)
    return True


def fpu_save(cpu: Ptr[Pcpu], v: Ptr[Vcpu]) -> None:
    """Save the state of the vCPU that ran here. The registers keep it too."""
    set_ts(cpu, False)
    if not has_xsave:
        fxsave(v.xsave_area)
        return
    load_xcr0(cpu, xcr0_mask)
    low = truncate(u32, xcr0_mask)
    high = truncate(u32, xcr0_mask >> 32)
    if has_xsaveopt:
        xsaveopt(v.xsave_area, low, high)
    else:
        xsave(v.xsave_area, low, high)


def fpu_load(cpu: Ptr[Pcpu], v: Ptr[Vcpu]) -> None:
    """Load the state of the vCPU that will run here, if the registers don't hold it."""
    if v.fpu_cpu != cpu.id + 1 or cpu.fpu_owner != u64(v):
        set_ts(cpu, False)
        restore(cpu, v)
        cpu.fpu_owner = u64(v)
        v.fpu_cpu = cpu.id + 1
    if has_xsave:
        load_xcr0(cpu, v.xcr0)
    set_ts(cpu, v.fpu_ts)


def restore(cpu: Ptr[Pcpu], v: Ptr[Vcpu]) -> None:
    """Load the save area; one that the toolstack spoilt becomes the initial state."""
    if has_xsave:
        load_xcr0(cpu, xcr0_mask)
        if xrstor_safe(v.xsave_area, xcr0_mask) != 0:
            fpu_reset(v)
            xrstor_safe(v.xsave_area, xcr0_mask)
    elif fxrstor_safe(v.xsave_area) != 0:
        fpu_reset(v)
        fxrstor_safe(v.xsave_area)
