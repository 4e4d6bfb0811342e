"""Debug registers of a vCPU: the hypercalls, and what a guest may put into them.

A breakpoint of a guest must never hit inside the core: its address has to be the guest's, and no
global-detect or I/O breakpoint is allowed. The context switch loads them only for vCPUs that
enabled any.
"""

import abi
from kpy import (
    Ptr,
    Result,
    Tainted,
    i64,
    ok,
    require,
    truncate,
    trusted,
    u32,
    u64,
)

from kernel.base.guest_memory import guest_address_okay
from kernel.base.registry import hypercall
from kernel.state.vcpu import Vcpu
from kernel.x86.context import load_debug_registers
from kernel.x86.vectors import DR6_FIXED, DR7_FIXED

DR6_RESERVED = 0xFFFFFFFF00001000
DR7_RESERVED = 0xFFFFFFFF0000DC00  # bits that read as 0; 13 is general detect
DR7_GENERAL_DETECT = 1 << 13
DR7_ENABLES = 0xFF
DR7_CONTROL_SHIFT = 16
DR7_IO_BREAKPOINT = 2


@hypercall(abi.__HYPERVISOR_set_debugreg)
def do_set_debugreg(vcpu: Ptr[Vcpu], register: Tainted[u32], value: Tainted[u64]) -> i64:
    """Set a debug register. Hypercall: set_debugreg(register, value).

    Errors: -EPERM, an address that is not the guest's, an I/O breakpoint that is on, general
    detect; -EINVAL, upper bits of dr6 or dr7; -ENODEV, no such register.
    """
    return set_debugreg(vcpu, register, value)


@hypercall(abi.__HYPERVISOR_get_debugreg)
def do_get_debugreg(vcpu: Ptr[Vcpu], register: Tainted[u32]) -> i64:
    """Read a debug register.

    Hypercall: get_debugreg(register). Errors: -ENODEV, no such register.
    """
    return truncate(i64, ok(get_debugreg(vcpu, register)))


def get_debugreg(vcpu: Ptr[Vcpu], register: Tainted[u32]) -> Result[u64]:
    """Return a debug register as the guest sees it; 4 and 5 are 6 and 7. Errors: -ENODEV."""
    match register:
        case 0 | 1 | 2 | 3:
            return vcpu.debugreg[register]
        case 4 | 6:
            return vcpu.debugreg[6] | DR6_FIXED
        case 5 | 7:
            return vcpu.debugreg[7] | DR7_FIXED
        case _:
            return -abi.ENODEV


def set_debugreg(vcpu: Ptr[Vcpu], register: Tainted[u32], value: Tainted[u64]) -> i64:
    """Check and set a debug register of the running vCPU."""
    result = set_debugreg_value(vcpu, register, value)
    if result == 0:
        load_debug_registers(vcpu)
    return result


def set_debugreg_value(vcpu: Ptr[Vcpu], register: Tainted[u32], value: Tainted[u64]) -> i64:
    """Check and set a debug register, not yet that of the processor."""
    match register:
        case 0 | 1 | 2 | 3:
            require(guest_address_okay(value), -abi.EPERM)
            vcpu.debugreg[register] = trusted(value)  # an address of the guest's own
        case 4 | 6:
            require(value >> 32 == 0, -abi.EINVAL)
            vcpu.debugreg[6] = trusted(value) & ~DR6_RESERVED | DR6_FIXED  # flags
        case 5 | 7:
            require(value >> 32 == 0, -abi.EINVAL)
            require(control_allowed(value), -abi.EPERM)
            vcpu.debugreg[7] = trusted(value) & ~DR7_RESERVED | DR7_FIXED  # flags
        case _:
            return -abi.ENODEV
    return 0


def control_allowed(dr7: Tainted[u64]) -> bool:
    """Tell whether a dr7 watches nothing but instructions and memory; what it says of breakpoints
    doesn't matter while all are off.
    """
    if dr7 & DR7_GENERAL_DETECT != 0:
        return False
    if dr7 & DR7_ENABLES == 0:
        return True
    for i in range(4):
        if dr7 >> (DR7_CONTROL_SHIFT + 4 * i) & 3 == DR7_IO_BREAKPOINT:
            return False
    return True
