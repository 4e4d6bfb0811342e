"""Debug registers of a vCPU: the hypercalls, and what a guest may put into them.

A breakpoint of a guest must never hit inside the core: its address has to be the guest's, and no
global-detect or I/O breakpoint is allowed. The context switch loads them only for vCPUs that
enabled any.
"""

import abi
from kpy import Ptr, Tainted, i64, require, truncate, trusted, u32, u64

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
    value, exists = get_debugreg(vcpu, register)
    require(exists, -abi.ENODEV)
    return truncate(i64, value)


def get_debugreg(vcpu: Ptr[Vcpu], register: Tainted[u32]) -> tuple[u64, bool]:
    """Return a debug register as the guest sees it; False: it has none of that number.

    4 and 5 are 6 and 7.
    """
    if register < 4:
        return vcpu.debugreg[register], True
    if register == 4 or register == 6:
        return vcpu.debugreg[6] | DR6_FIXED, True
    if register == 5 or register == 7:
        return vcpu.debugreg[7] | DR7_FIXED, True
    return 0, False


def set_debugreg(vcpu: Ptr[Vcpu], register: Tainted[u32], value: Tainted[u64]) -> i64:
    """Check and set a debug register of the running vCPU."""
    result = set_debugreg_value(vcpu, register, value)
    if result == 0:
        load_debug_registers(vcpu)
    return result


def set_debugreg_value(vcpu: Ptr[Vcpu], register: Tainted[u32], value: Tainted[u64]) -> i64:
    """Check and set a debug register, not yet that of the processor."""
    if register < 4:
        require(guest_address_okay(value), -abi.EPERM)
        vcpu.debugreg[register] = trusted(value)  # an address of the guest's own
    elif register == 4 or register == 6:
        require(value >> 32 == 0, -abi.EINVAL)
        vcpu.debugreg[6] = trusted(value) & ~DR6_RESERVED | DR6_FIXED  # flags
    elif register == 5 or register == 7:
        require(value >> 32 == 0, -abi.EINVAL)
        require(control_allowed(value), -abi.EPERM)
        vcpu.debugreg[7] = trusted(value) & ~DR7_RESERVED | DR7_FIXED  # flags
    else:
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
