"""mov to and from control and debug registers.

cr0 shows the machine's, of which a guest may change only TS. cr2 is the address that its last page
fault reported. cr3 is its kernel's L4 as a machine address. Of cr4 it owns the bits that change
nothing for the core.
"""

import abi
from kpy import (
    Ptr,
    Tainted,
    load,
    require,
    store,
    trusted,
    u32,
    u64,
)

from kernel.base.ids import PAGE_SHIFT, Mfn, mfn_or_0
from kernel.emulate.instruction import Instruction, decoded_reg, decoded_rm, gpr
from kernel.entry.debugreg import get_debugreg, set_debugreg
from kernel.paging.base_pointer import new_guest_cr3
from kernel.paging.table_ref import put_old_guest_table
from kernel.state.vcpu import Vcpu
from kernel.x86.bits import CR0_TS, CR4_DE, CR4_FSGSBASE, CR4_OSXSAVE, CR4_PGE, CR4_PSE, CR4_TSD
from kernel.x86.context import load_cr4
from kernel.x86.cpu import read_cr0, read_cr4
from kernel.x86.fpu import fpu_set_ts

# Bits that a guest may set and clear as it sees them; TSD and DE also reach the processor.
CR4_GUEST = CR4_TSD | CR4_DE | CR4_FSGSBASE | CR4_OSXSAVE


def read_control(vcpu: Ptr[Vcpu], instruction: Ptr[Instruction]) -> bool:
    """mov from cr0, 2, 3, 4."""
    to = gpr(vcpu, decoded_rm(instruction))
    match decoded_reg(instruction):
        case 0:
            store(to, guest_cr0(vcpu))
        case 2:
            store(to, vcpu.vcpu_info.arch.cr2)
        case 3:
            store(to, mfn_or_0(vcpu.guest_table) << PAGE_SHIFT)
        case 4:
            store(to, guest_cr4(vcpu))
        case _:
            return False
    return True


def write_control(vcpu: Ptr[Vcpu], instruction: Ptr[Instruction]) -> bool:
    """mov to cr0, 2, 3, 4. cr0: only TS may differ from what it reads as."""
    value = load(gpr(vcpu, decoded_rm(instruction)))
    match decoded_reg(instruction):
        case 0:
            require((value ^ guest_cr0(vcpu)) & ~CR0_TS == 0, False)
            fpu_set_ts(vcpu, value & CR0_TS != 0)
        case 2:
            vcpu.vcpu_info.arch.cr2 = value
        case 3:
            # new_guest_cr3 takes any number
            return write_cr3(vcpu, instruction, Mfn(trusted(value) >> PAGE_SHIFT))
        case 4:
            vcpu.cr4 = value & CR4_GUEST
            load_cr4(vcpu)
        case _:
            return False
    return True


def write_cr3(vcpu: Ptr[Vcpu], instruction: Ptr[Instruction], mfn: Mfn) -> bool:
    """mov to cr3: change the kernel's page tables; what takes longer is executed again."""
    result = put_old_guest_table(vcpu)
    if result == 0:
        result = new_guest_cr3(vcpu, mfn)
    if result == -abi.ERESTART:
        instruction.length = 0
    return result == 0 or result == -abi.ERESTART


def guest_cr0(vcpu: Ptr[Vcpu]) -> u64:
    """Return cr0 with the guest's own TS."""
    value = read_cr0() & ~CR0_TS
    return value | CR0_TS if vcpu.fpu_ts else value


def guest_cr4(vcpu: Ptr[Vcpu]) -> Tainted[u64]:
    """Return the machine's cr4 with the guest's bits; it has no large and no global pages."""
    return read_cr4() & ~(CR4_GUEST | CR4_PSE | CR4_PGE) | vcpu.cr4


def read_debug(vcpu: Ptr[Vcpu], instruction: Ptr[Instruction]) -> bool:
    """mov from a debug register."""
    found = get_debugreg(vcpu, u32(decoded_reg(instruction)))
    require(found.error == 0, False)
    store(gpr(vcpu, decoded_rm(instruction)), found.value)
    return True


def write_debug(vcpu: Ptr[Vcpu], instruction: Ptr[Instruction]) -> bool:
    """mov to a debug register."""
    value = load(gpr(vcpu, decoded_rm(instruction)))
    return set_debugreg(vcpu, u32(decoded_reg(instruction)), value) == 0
