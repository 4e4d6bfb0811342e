"""Page tables as they should be used: what entries become, how far a list of requests got, pins,
pages cleared and copied, descriptors, and several calls in one.
"""

import abi
from kpy import Array, Ptr, i64, load, ref, static, store, truncate, u32, u64

from libos.hypercall import hypercall, update_va_mapping
from libos.layout import PAGE_SHIFT, PAGE_SIZE, pfn_of
from libos.memory import PTE_KERNEL, entry_address, machine_address
from libos.pages import alloc_pages, free_pages
from libos.start_info import boot
from tests.guests.kernels.probes import ground
from tests.guests.kernels.probes.ground import (
    CORE_ADDRESS,
    NO_COMMAND,
    NO_DOMAIN,
    NO_FRAME,
    WILD_ADDRESS,
    frame_of,
)
from tests.guests.kernels.probes.transcript import fact, fact_each, tell, tell_each

NR_BITS = 64
KEPT_BITS = ~0x001F_FFFF_FFFF_F000 & (1 << 64) - 1  # bit 52 is Xen's own, for kernel mappings
L2_PAGES = 512  # mapped by an L2 entry
PTE_ACCESSED, PTE_DIRTY = 0x20, 0x40
UNTOUCHED = 77
PATTERN = 0x1234_5678
DESCRIPTORS_64 = 64
CODE_RING_3, DATA_RING_3 = 0x00AF_FA00_0000_FFFF, 0x00CF_F200_0000_FFFF
CODE_RING_1, LDT_GATE = 0x00AF_BA00_0000_FFFF, 0x0000_8200_0000_0000

updates = static(Array[abi.mmu_update, 4])
operations = static(Array[abi.mmuext_op, 4])
calls = static(Array[abi.multicall_entry, 4])
frames = static(Array[u64, 16])
nr_done = static(u32)
vcpus = static(u64, 1)
victim = static(u64)  # a page whose entry is changed


def ask_page_tables() -> None:
    global victim
    victim = alloc_pages(1)
    ask_entry_bits()
    ask_lists()
    ask_accessed_bits()
    ask_va_mappings()
    ask_extended()
    ask_pages()
    ask_local_descriptors()
    ask_global_descriptors()
    ask_multicalls()


def l1_entry() -> u64:
    return entry_address(victim, 1)


def update(pointer: u64, value: u64) -> i64:
    return ground.update_machine(pointer, value)


def ask_entry_bits() -> None:
    """Each bit of an L1 entry alone, and what it looks like afterwards."""
    at = machine_address(l1_entry())
    for bit_number in range(NR_BITS):
        if 12 <= bit_number < 40:
            continue  # other frames
        value = (machine_address(victim) | 1) ^ (u64(1) << u64(bit_number))
        result = update(at, value)
        tell_each(b"mmu_update l1e with bit", u64(bit_number), result)
        if result == 0:
            fact_each(
                b"mmu_update l1e shows", u64(bit_number), load(Ptr[u64](l1_entry())) & KEPT_BITS
            )
    unused = alloc_pages(2 * L2_PAGES)
    entry = entry_address(unused + L2_PAGES * PAGE_SIZE, 2)
    at = machine_address(entry)
    old = load(Ptr[u64](entry))
    for bit_number in range(1, NR_BITS):
        if 12 <= bit_number < 40:
            continue
        result = update(at, old ^ (u64(1) << u64(bit_number)))
        tell_each(b"mmu_update l2e with bit turned", u64(bit_number), result)
        if result == 0:
            fact_each(b"mmu_update l2e shows", u64(bit_number), load(Ptr[u64](entry)) & KEPT_BITS)
        update(at, old)
    free_pages(unused, 2 * L2_PAGES)
    restore()


def restore() -> None:
    """Have the victim mapped as it was."""
    assert update_va_mapping(victim, machine_address(victim) | PTE_KERNEL, abi.UVMF_INVLPG) == 0


def make_updates(count: u64, done: u64, foreign: u64) -> i64:
    return hypercall(abi.__HYPERVISOR_mmu_update, u64(ref(updates)), count, done, foreign, 0)


def ask_lists() -> None:
    """Two good requests, then a bad one."""
    global nr_done
    for i in range(4):
        updates[i].ptr = machine_address(l1_entry())
        updates[i].val = machine_address(victim) | PTE_KERNEL
    updates[2].val = ground.foreign << PAGE_SHIFT | PTE_KERNEL
    nr_done = UNTOUCHED
    tell(b"mmu_update third of four is bad", make_updates(4, u64(ref(nr_done)), abi.DOMID_SELF))
    fact(b"mmu_update third of four, done", u64(nr_done))
    tell(b"mmu_update two good", make_updates(2, u64(ref(nr_done)), abi.DOMID_SELF))
    fact(b"mmu_update two good, done", u64(nr_done))
    nr_done = UNTOUCHED
    tell(b"mmu_update none", make_updates(0, u64(ref(nr_done)), abi.DOMID_SELF))
    fact(b"mmu_update none, done", u64(nr_done))
    tell(b"mmu_update done unmapped", make_updates(1, WILD_ADDRESS, abi.DOMID_SELF))
    tell(b"mmu_update done in the core", make_updates(1, CORE_ADDRESS, abi.DOMID_SELF))
    tell(b"mmu_update own tables by id", make_updates(1, 0, abi.DOMID_SELF | 1 << 16))
    tell(b"mmu_update missing tables", make_updates(1, 0, abi.DOMID_SELF | (NO_DOMAIN + 1) << 16))
    tell(b"mmu_update missing domain's frames", make_updates(1, 0, NO_DOMAIN))
    tell(b"mmu_update own frames by id", make_updates(1, 0, 0))
    updates[0].val = 0xFEC0_0000 | PTE_KERNEL
    tell(b"mmu_update an I/O APIC of DOMID_IO", make_updates(1, 0, abi.DOMID_IO))
    tell(b"mmu_update an I/O APIC as own", make_updates(1, 0, abi.DOMID_SELF))
    updates[0].val = 0xF000_0000 | PTE_KERNEL
    tell(b"mmu_update a device of DOMID_IO", make_updates(1, 0, abi.DOMID_IO))
    restore()
    updates[0].ptr = machine_address(l1_entry()) + 4
    updates[0].val = machine_address(victim) | PTE_KERNEL
    tell(b"mmu_update in the middle of an entry", make_updates(1, 0, abi.DOMID_SELF))
    updates[0].ptr = machine_address(victim) | abi.MMU_MACHPHYS_UPDATE
    updates[0].val = PATTERN
    tell(b"mmu_update machine to physical", make_updates(1, 0, abi.DOMID_SELF))
    seen = load(Ptr[u64](abi.MACH2PHYS_VIRT_START + 8 * frame_of(victim)))
    fact(b"mmu_update machine to physical shows", seen)
    updates[0].val = u64(pfn_of(victim))
    make_updates(1, 0, abi.DOMID_SELF)


def ask_accessed_bits() -> None:
    at = machine_address(l1_entry())
    value = machine_address(victim) | PTE_KERNEL & ~(PTE_ACCESSED | PTE_DIRTY)
    store(Ptr[u64](victim), 1)
    tell(
        b"mmu_update keeping accessed and dirty", update(at | abi.MMU_PT_UPDATE_PRESERVE_AD, value)
    )
    fact(b"mmu_update kept bits", load(Ptr[u64](l1_entry())) & (PTE_ACCESSED | PTE_DIRTY))
    tell(b"mmu_update clearing accessed and dirty", update(at, value))
    fact(b"mmu_update cleared bits", load(Ptr[u64](l1_entry())) & (PTE_ACCESSED | PTE_DIRTY))
    tell(b"mmu_update no translate", update(at | abi.MMU_PT_UPDATE_NO_TRANSLATE, value))
    for command in range(4, 8):
        result = update(at | u64(command), value)
        tell_each(b"mmu_update unknown command", u64(command), result)
    restore()


def ask_va_mappings() -> None:
    entry = machine_address(victim) | PTE_KERNEL
    for flags in range(16):
        result = update_va_mapping(victim, entry, u64(flags))
        tell_each(b"update_va_mapping flags", u64(flags), result)
    many = u64(ref(vcpus)) & ~7
    tell(
        b"update_va_mapping flush on one vcpu",
        update_va_mapping(victim, entry, many | abi.UVMF_TLB_FLUSH),
    )
    tell(
        b"update_va_mapping flush on unmapped vcpus",
        update_va_mapping(victim, entry, WILD_ADDRESS | abi.UVMF_TLB_FLUSH),
    )
    tell(b"update_va_mapping nothing", update_va_mapping(victim, 0, abi.UVMF_INVLPG))
    fact(b"update_va_mapping nothing shows", load(Ptr[u64](l1_entry())))
    restore()
    other = u64(abi.__HYPERVISOR_update_va_mapping_otherdomain)
    tell(
        b"update_va_mapping_otherdomain own", hypercall(other, victim, entry, 0, abi.DOMID_SELF, 0)
    )
    tell(b"update_va_mapping_otherdomain missing", hypercall(other, victim, entry, 0, NO_DOMAIN, 0))
    tell(
        b"update_va_mapping_otherdomain of DOMID_IO",
        hypercall(other, victim, entry, 0, abi.DOMID_IO, 0),
    )
    tell(
        b"update_va_mapping_otherdomain of DOMID_XEN",
        hypercall(other, victim, entry, 0, abi.DOMID_XEN, 0),
    )
    restore()


def extended(command: u32, first: u64, second: u64, domain: u64) -> i64:
    operations[0].cmd = command
    operations[0].arg1.mfn = first
    operations[0].arg2.src_mfn = second
    return hypercall(abi.__HYPERVISOR_mmuext_op, u64(ref(operations)), 1, 0, domain, 0)


def ask_extended() -> None:
    for command in range(23):
        if command not in (abi.MMUEXT_NEW_BASEPTR, abi.MMUEXT_NEW_USER_BASEPTR, abi.MMUEXT_SET_LDT):
            tell_each(
                b"mmuext_op on frame 0, command",
                u64(command),
                extended(u32(command), 0, 0, abi.DOMID_SELF),
            )
        tell_each(
            b"mmuext_op for a missing domain, command",
            u64(command),
            extended(u32(command), 0, 0, NO_DOMAIN),
        )
        tell_each(
            b"mmuext_op for DOMID_IO, command",
            u64(command),
            extended(u32(command), 0, 0, abi.DOMID_IO),
        )
    tell(
        b"MMUEXT_NEW_BASEPTR the same",
        extended(abi.MMUEXT_NEW_BASEPTR, frame_of(boot().pt_base), 0, abi.DOMID_SELF),
    )
    tell(b"MMUEXT_NEW_BASEPTR 0", extended(abi.MMUEXT_NEW_BASEPTR, 0, 0, abi.DOMID_SELF))
    tell(b"MMUEXT_NEW_USER_BASEPTR 0", extended(abi.MMUEXT_NEW_USER_BASEPTR, 0, 0, abi.DOMID_SELF))
    tell(
        b"MMUEXT_NEW_USER_BASEPTR the kernel's",
        extended(abi.MMUEXT_NEW_USER_BASEPTR, frame_of(boot().pt_base), 0, abi.DOMID_SELF),
    )
    tell(
        b"MMUEXT_NEW_USER_BASEPTR 0 again",
        extended(abi.MMUEXT_NEW_USER_BASEPTR, 0, 0, abi.DOMID_SELF),
    )
    tell(
        b"MMUEXT_INVLPG_LOCAL the core",
        extended(abi.MMUEXT_INVLPG_LOCAL, CORE_ADDRESS, 0, abi.DOMID_SELF),
    )
    tell(
        b"MMUEXT_INVLPG_ALL not canonical",
        extended(abi.MMUEXT_INVLPG_ALL, 1 << 62, 0, abi.DOMID_SELF),
    )
    tell(
        b"MMUEXT_TLB_FLUSH_MULTI one vcpu",
        extended(abi.MMUEXT_TLB_FLUSH_MULTI, 0, u64(ref(vcpus)), abi.DOMID_SELF),
    )
    tell(
        b"MMUEXT_TLB_FLUSH_MULTI unmapped",
        extended(abi.MMUEXT_TLB_FLUSH_MULTI, 0, WILD_ADDRESS, abi.DOMID_SELF),
    )
    tell(
        b"MMUEXT_INVLPG_MULTI unmapped",
        extended(abi.MMUEXT_INVLPG_MULTI, victim, WILD_ADDRESS, abi.DOMID_SELF),
    )
    operations[0].cmd = abi.MMUEXT_TLB_FLUSH_LOCAL
    operations[1].cmd = NO_COMMAND
    number = u64(abi.__HYPERVISOR_mmuext_op)
    result = hypercall(number, u64(ref(operations)), 3, u64(ref(nr_done)), abi.DOMID_SELF, 0)
    tell(b"mmuext_op second of three is bad", result)
    fact(b"mmuext_op second of three, done", u64(nr_done))


def ask_pages() -> None:
    """Pages cleared and copied by the hypervisor."""
    source, dest = alloc_pages(1), alloc_pages(1)
    store(Ptr[u64](source), PATTERN)
    tell(
        b"MMUEXT_COPY_PAGE",
        extended(abi.MMUEXT_COPY_PAGE, frame_of(dest), frame_of(source), abi.DOMID_SELF),
    )
    fact(b"MMUEXT_COPY_PAGE copies", load(Ptr[u64](dest)))
    tell(
        b"MMUEXT_COPY_PAGE from a foreign frame",
        extended(abi.MMUEXT_COPY_PAGE, frame_of(dest), ground.foreign, abi.DOMID_SELF),
    )
    tell(
        b"MMUEXT_COPY_PAGE from a table",
        extended(abi.MMUEXT_COPY_PAGE, frame_of(dest), frame_of(boot().pt_base), abi.DOMID_SELF),
    )
    tell(
        b"MMUEXT_COPY_PAGE to a table",
        extended(abi.MMUEXT_COPY_PAGE, frame_of(boot().pt_base), frame_of(source), abi.DOMID_SELF),
    )
    tell(
        b"MMUEXT_COPY_PAGE to nothing",
        extended(abi.MMUEXT_COPY_PAGE, NO_FRAME, frame_of(source), abi.DOMID_SELF),
    )
    store(Ptr[u64](dest), PATTERN)
    tell(b"MMUEXT_CLEAR_PAGE", extended(abi.MMUEXT_CLEAR_PAGE, frame_of(dest), 0, abi.DOMID_SELF))
    fact(b"MMUEXT_CLEAR_PAGE clears", load(Ptr[u64](dest)))
    tell(
        b"MMUEXT_CLEAR_PAGE a table",
        extended(abi.MMUEXT_CLEAR_PAGE, frame_of(boot().pt_base), 0, abi.DOMID_SELF),
    )


def ask_local_descriptors() -> None:
    page = alloc_pages(1)
    tell(b"MMUEXT_SET_LDT", extended(abi.MMUEXT_SET_LDT, page, DESCRIPTORS_64, abi.DOMID_SELF))
    tell(
        b"MMUEXT_SET_LDT again", extended(abi.MMUEXT_SET_LDT, page, DESCRIPTORS_64, abi.DOMID_SELF)
    )
    tell(
        b"MMUEXT_SET_LDT in the core", extended(abi.MMUEXT_SET_LDT, CORE_ADDRESS, 1, abi.DOMID_SELF)
    )
    tell(b"MMUEXT_SET_LDT unmapped", extended(abi.MMUEXT_SET_LDT, WILD_ADDRESS, 1, abi.DOMID_SELF))
    tell(b"MMUEXT_SET_LDT largest", extended(abi.MMUEXT_SET_LDT, page, 8192, abi.DOMID_SELF))
    tell(b"MMUEXT_SET_LDT none", extended(abi.MMUEXT_SET_LDT, CORE_ADDRESS, 0, abi.DOMID_SELF))


def descriptor(value: u64) -> i64:
    machine = machine_address(victim)
    return hypercall(abi.__HYPERVISOR_update_descriptor, machine, value, 0, 0, 0)


def ask_global_descriptors() -> None:
    """A table of our own; then what the hypervisor makes of descriptors."""
    table = alloc_pages(1)
    frames[0] = frame_of(table)
    number = u64(abi.__HYPERVISOR_set_gdt)
    tell(b"set_gdt writable page", hypercall(number, u64(ref(frames)), DESCRIPTORS_64, 0, 0, 0))
    ground.protect(table)
    tell(b"set_gdt", hypercall(number, u64(ref(frames)), DESCRIPTORS_64, 0, 0, 0))
    result = update_va_mapping(table, machine_address(table) | PTE_KERNEL, abi.UVMF_INVLPG)
    tell(b"set_gdt then writable", result)
    tell(b"set_gdt none", hypercall(number, 0, 0, 0, 0, 0))
    tell(b"set_gdt unmapped list", hypercall(number, WILD_ADDRESS, DESCRIPTORS_64, 0, 0, 0))
    frames[0] = NO_FRAME
    tell(b"set_gdt missing frame", hypercall(number, u64(ref(frames)), DESCRIPTORS_64, 0, 0, 0))
    tell(b"update_descriptor code", descriptor(CODE_RING_3))
    fact(b"update_descriptor code stored", load(Ptr[u64](victim)))
    tell(b"update_descriptor data", descriptor(DATA_RING_3))
    fact(b"update_descriptor data stored", load(Ptr[u64](victim)))
    tell(b"update_descriptor code of ring 1", descriptor(CODE_RING_1))
    fact(b"update_descriptor code of ring 1 stored", load(Ptr[u64](victim)))
    tell(b"update_descriptor an LDT", descriptor(LDT_GATE))
    tell(b"update_descriptor nothing", descriptor(0))
    for kind in range(32):
        value = 0x00CF_E000_0000_FFFF & ~(0x1F << 40) | u64(kind) << 40
        tell_each(b"update_descriptor type", u64(kind), descriptor(value))
        fact_each(b"update_descriptor stored type", u64(kind), load(Ptr[u64](victim)))
    machine = machine_address(victim)
    result = hypercall(abi.__HYPERVISOR_update_descriptor, machine + 4, 0, 0, 0, 0)
    tell(b"update_descriptor not aligned", result)
    result = hypercall(abi.__HYPERVISOR_update_descriptor, NO_FRAME << 12, 0, 0, 0, 0)
    tell(b"update_descriptor in a missing frame", result)


def ask_multicalls() -> None:
    calls[0].op = abi.__HYPERVISOR_xen_version
    calls[0].args[0] = abi.XENVER_version
    calls[1].op = NO_COMMAND
    calls[2].op = abi.__HYPERVISOR_sched_op
    calls[2].args[0] = abi.SCHEDOP_yield
    number = u64(abi.__HYPERVISOR_multicall)
    tell(b"multicall", hypercall(number, u64(ref(calls)), 3, 0, 0, 0))
    tell(b"multicall first", truncate(i64, calls[0].result))
    tell(b"multicall missing hypercall", truncate(i64, calls[1].result))
    tell(b"multicall third", truncate(i64, calls[2].result))
    tell(b"multicall none", hypercall(number, WILD_ADDRESS, 0, 0, 0, 0))
    tell(b"multicall in the core", hypercall(number, CORE_ADDRESS, 1, 0, 0, 0))
    tell(b"multicall absurd", hypercall(number, CORE_ADDRESS, 1 << 31, 0, 0, 0))
    calls[0].op = 1 << 40
    tell(b"multicall of an absurd number", hypercall(number, u64(ref(calls)), 1, 0, 0, 0))
    tell(b"multicall of an absurd number, result", truncate(i64, calls[0].result))
