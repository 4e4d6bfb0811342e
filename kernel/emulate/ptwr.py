"""Writable page tables: a guest kernel writes to an L1 table as if it were memory, and the core
makes an update of it.

Page tables are mapped read-only, so the write faults. If it was to a table in force of the guest's
own, the instruction is emulated: the new entry is checked like a requested one
(kernel/paging/entry_update.py), and the guest goes on behind the instruction.
Source: Xen public ABI, xen.h, VMASST_TYPE_writable_pagetables.
"""

import abi
from kpy import Ptr, Tainted, bit, inline, noinline, popcount, ref, struct, trusted, u64

from kernel.base.ids import Mfn, mfn_to_maddr
from kernel.emulate.table_write import TableWrite, Write, decode_write, set_register, source_operand
from kernel.entry.step import step_over
from kernel.frames.frame import owner_id, page_at
from kernel.frames.iomem import IO_read, io_frame_rights
from kernel.frames.page_owner import PageOwner
from kernel.frames.page_type import level_in_force
from kernel.paging.entry import STORE_IF_SAME, entry_mfn, read_entry
from kernel.paging.entry_update import change_l1e
from kernel.paging.guest_walk import find_l1e
from kernel.state.frame_table import frame_at, frame_valid
from kernel.state.vcpu import Vcpu
from kernel.trace.wide import trace_values_3
from kernel.x86.bits import EFLAGS_CF, PTE_PRESENT, PTE_WRITE

EFLAGS_PF = 1 << 2
EFLAGS_ZF = 1 << 6
EFLAGS_SF = 1 << 7
EFLAGS_OF = 1 << 11
RAX = 0


@struct
class Effect:
    """What an emulated instruction does."""

    entry: Ptr[Tainted[u64]]
    before: Tainted[u64]  # the entry
    old: Tainted[u64]  # the operand in it
    new: Tainted[u64]
    mask: u64  # of the operand's size
    shift: u64  # of the operand in the entry
    is_stored: bool  # not by a cmpxchg that finds another value


@noinline
def emulate_table_write(v: Ptr[Vcpu], address: u64) -> bool:
    """Emulate the instruction of a guest kernel that could not write to `address`.

    Returns: False when it didn't write to a page table of its own, or not in a way that is
    emulated; the guest then gets its fault.
    Locks: takes the domain's page_lock.
    """
    with v.domain.page_lock:
        entry = find_l1e(v, address)
        if entry is None:
            return False
        l1e = read_entry(entry)
        if l1e & (PTE_PRESENT | PTE_WRITE) != PTE_PRESENT:
            return False
        mfn = entry_mfn(l1e)
        if not frame_valid(mfn):
            return io_frame_rights(v.domain, mfn) == IO_read and discard_write(v)
        if not is_own_l1_table(v, mfn):
            return False
        write = Write()
        if not decode_write(v, ref(write)):
            return False
        return perform(v, ref(write), mfn, address & 4095)


def is_own_l1_table(v: Ptr[Vcpu], mfn: Mfn) -> bool:
    """Say whether a frame is an L1 table in force of the guest's, and the guest wants writes to it
    emulated.
    """
    wants = v.domain.vm_assist & bit(abi.VMASST_TYPE_writable_pagetables) != 0
    # The entry that maps it holds it.
    return wants and owner_id(mfn) == v.domain.domain_id and level_in_force(frame_at(mfn)) == 1


def discard_write(v: Ptr[Vcpu]) -> bool:
    """Step over a write to device memory that domain 0 may only read."""
    write = Write()
    if not decode_write(v, ref(write)):
        return False
    step_over(v, write.length)
    return True


def perform(v: Ptr[Vcpu], write: Ptr[Write], table: Mfn, offset: u64) -> bool:
    """Carry a write out.

    Returns: False when the new entry is refused; True also when the entry changed meanwhile, to try
    again.
    """
    place = offset & 7
    if place + u64(write.size) > 8:
        return False
    entry = ref(page_at(table)[offset >> 3])
    before = read_entry(entry)
    effect = Effect(entry=entry, before=before, shift=place * 8, mask=size_mask(u64(write.size)))
    effect.old = before >> effect.shift & effect.mask
    compute(v, write, ref(effect))
    if effect.is_stored:
        changed = before & ~(effect.mask << effect.shift) | effect.new << effect.shift
        owner = PageOwner(domain_id=v.domain.domain_id, domain=v.domain)
        if change_l1e(entry, before, changed, v.domain, ref(owner), STORE_IF_SAME) != 0:
            return read_entry(entry) != before
    trace_values_3(
        abi.TRC_PV_PTWR_EMULATION | abi.TRC_64_FLAG,
        effect.new,
        u64(mfn_to_maddr(table)) + offset,
        v.regs.rip,
    )
    set_results(v, write, ref(effect))
    step_over(v, write.length)
    return True


def size_mask(nr_bytes: u64) -> u64:
    """Return the mask of an operand of 1 to 8 bytes."""
    return ~u64(0) >> (64 - 8 * nr_bytes)


def compute(v: Ptr[Vcpu], write: Ptr[Write], effect: Ptr[Effect]) -> None:
    """Compute the operand's new value."""
    source = source_operand(v, write)
    selected = selected_bit(source, write)
    effect.is_stored = True
    effect.new = source & effect.mask
    match write.operation:
        case TableWrite.and_:
            effect.new &= effect.old
        case TableWrite.or_:
            effect.new |= effect.old
        case TableWrite.xor:
            effect.new ^= effect.old
        case TableWrite.bts:
            effect.new = effect.old | selected
        case TableWrite.btr:
            effect.new = effect.old & ~selected
        case TableWrite.btc:
            effect.new = effect.old ^ selected
        case TableWrite.cmpxchg:
            effect.is_stored = effect.old == v.regs.rax & effect.mask
        case _:
            pass


@inline
def selected_bit(source: Tainted[u64], write: Ptr[Write]) -> u64:
    """Return the bit of the operand that bts and its kin name by its number, modulo its size."""
    nr_bits = u64(write.size) * 8
    return bit(trusted(source & (nr_bits - 1)))  # below nr_bits, a power of 2


def set_results(v: Ptr[Vcpu], write: Ptr[Write], effect: Ptr[Effect]) -> None:
    """Set registers and flags as the instruction does."""
    match write.operation:
        case TableWrite.xchg:
            set_register(v, write.register, write.size, effect.old)
        case TableWrite.cmpxchg:
            set_flag(v, EFLAGS_ZF, effect.is_stored)
            if not effect.is_stored:
                set_register(v, RAX, write.size, effect.old)
        case TableWrite.bts | TableWrite.btr | TableWrite.btc:
            selected = selected_bit(source_operand(v, write), write)
            set_flag(v, EFLAGS_CF, effect.old & selected != 0)
        case TableWrite.and_ | TableWrite.or_ | TableWrite.xor:
            set_logic_flags(v, effect.new, u64(write.size))
        case _:
            pass


def set_logic_flags(v: Ptr[Vcpu], result: Tainted[u64], nr_bytes: u64) -> None:
    """Set the flags that AND, OR and XOR define."""
    set_flag(v, EFLAGS_CF | EFLAGS_OF, False)
    set_flag(v, EFLAGS_ZF, result == 0)
    set_flag(v, EFLAGS_SF, result >> (8 * nr_bytes - 1) != 0)
    set_flag(v, EFLAGS_PF, popcount(result & 0xFF) % 2 == 0)


def set_flag(v: Ptr[Vcpu], flag: u64, value: bool) -> None:
    """Set or clear a flag of the guest's."""
    if value:
        v.regs.rflags |= flag
    else:
        v.regs.rflags &= ~flag
