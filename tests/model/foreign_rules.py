"""Rules for what reaches into other domains' memory: domain 0's right, and everybody else's try."""

import abi
from hypothesis.stateful import rule

from tests.model.actors import SLOTS, bits, numbers, pick
from tests.model.guest import BASE, MOV_RDI_RAX, PAGE, STACK_PAGE
from tests.model.memory_rules import FLUSHES, PINS, MemoryRules, address_of

ODD_DOMAINS = [abi.DOMID_IO, abi.DOMID_XEN, abi.DOMID_SELF, abi.DOMID_INVALID, 77]
PRESENT_WRITE_FAULT = 1 | 2 | 4
L1_PAGE = 3  # of the guest's pages


class ForeignRules(MemoryRules):
    """Operations that name a foreign domain; batches of calls."""

    def domain_named(self, number):
        """Choose a domain id to name: mostly one that exists."""
        if number % 8 == 7:
            return pick(ODD_DOMAINS, number // 8)
        return pick(self.everybody(), number).id

    @rule(who=numbers, other=numbers, page=numbers, frame=bits, flags=numbers, flush=numbers)
    def map_foreign(self, who, other, page, frame, flags, flush):
        """Map a frame of another domain at one of the own data pages."""
        who, named = self.who(who), self.domain_named(other)
        mfn = pick(self.frames_of(named), frame) if frame % 4 else self.frame(who, frame)
        value = mfn << 12 | pick([7, 5, 3, 0x87], flags)
        arguments = (address_of(page), value, pick(FLUSHES, flush), named)
        self.call(who, "update_va_mapping_otherdomain", *arguments)

    @rule(who=numbers, other=numbers, slot=numbers, frame=bits, flags=numbers, tables=numbers)
    def update_foreign(self, who, other, slot, frame, flags, tables):
        """Change page tables, own or another's, to map frames of a named domain."""
        who, named = self.who(who), self.domain_named(other)
        owner = pick([who, who, *self.everybody()], tables)
        table = pick(self.tables(owner, 1), tables)
        mfn = pick(self.frames_of(named), frame)
        foreign = named | (owner.id + 1 << 16 if owner is not who or tables % 2 else 0)
        if who is self.machine.dom0 and owner is not who:
            self.handed_on.add((owner.id, mfn))
        request = (table << 12 | 8 * pick(SLOTS[1], slot), mfn << 12 | pick([7, 5, 0, 3], flags))
        self.update(who, [request], foreign=foreign, choices=frame)

    @rule(who=numbers, other=numbers, what=numbers, frame=bits, choices=bits)
    def act_on_foreign(self, who, other, what, frame, choices):
        """Pin, unpin, clear or load a frame of a named domain."""
        who, named = self.who(who), self.domain_named(other)
        mfn = pick(self.frames_of(named, is_table=what % 2 == 1), frame)
        ends = [abi.MMUEXT_UNPIN_TABLE, abi.MMUEXT_CLEAR_PAGE, abi.MMUEXT_NEW_BASEPTR]
        if any(mfn in guest.pages[:9] for guest in self.everybody()):
            return  # what it needs to go on acting
        self.mmuext(who, pick([*PINS, *ends], what), mfn, owner=named, choices=choices)

    @rule(who=numbers, first=bits, flags=numbers, choices=bits)
    def batch(self, who, first, flags, choices):
        """Make several calls by one multicall, which may be interrupted in between."""
        who, calls = self.who(who), []
        for i in range(2 + flags % 18):
            value = self.entry(who, (first >> i) + i, flags + i)
            arguments = [address_of(first + i), value, pick(FLUSHES, first >> i), 0, 0, 0]
            calls += [abi.__dict__["__HYPERVISOR_update_va_mapping"], 0, *arguments]
        self.call(who, "multicall", who.put(calls), len(calls) // 8, choices=choices)

    @rule(who=numbers, frame=bits, value=bits)
    def write_to_table(self, who, frame, value):
        """Write to a page table through its read-only mapping: the core emulates the write."""
        who = self.who(who)
        if who is self.machine.dom0:
            return
        l1 = BASE + L1_PAGE * PAGE + 8 * pick(SLOTS[1], frame)
        self.write(who, BASE + STACK_PAGE * PAGE, MOV_RDI_RAX)
        regs = who.vcpu().regs
        regs.rip, regs.rdi, regs.rax = BASE + STACK_PAGE * PAGE, l1, self.entry(who, value, frame)
        self.page_fault(who, PRESENT_WRITE_FAULT, l1)
