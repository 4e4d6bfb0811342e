"""Rules for what a guest does with its memory: page tables, TLBs, allocation."""

import abi
from hypothesis.stateful import rule

from tests.model.actors import FLAGS, SLOTS, Actors, bits, numbers, pick
from tests.model.guest import BASE, FIRST_DATA_PAGE, PAGE, GuestFault, Stopped

FLUSHES = [
    abi.UVMF_INVLPG | abi.UVMF_ALL,
    abi.UVMF_TLB_FLUSH | abi.UVMF_ALL,
    abi.UVMF_TLB_FLUSH | abi.UVMF_LOCAL,
    abi.UVMF_INVLPG,
    0,
]
PINS = [abi.MMUEXT_PIN_L1_TABLE + level for level in range(4)]
TLB_OPS = [
    abi.MMUEXT_TLB_FLUSH_LOCAL,
    abi.MMUEXT_TLB_FLUSH_ALL,
    abi.MMUEXT_INVLPG_LOCAL,
    abi.MMUEXT_INVLPG_ALL,
    abi.MMUEXT_MARK_SUPER,
    abi.MMUEXT_FLUSH_CACHE,
]
RESERVATIONS = [
    abi.XENMEM_increase_reservation,
    abi.XENMEM_decrease_reservation,
    abi.XENMEM_populate_physmap,
]
WAY_TO_ARGUMENTS = {level: BASE >> 12 + 9 * (level - 1) & 511 for level in (2, 3, 4)}
NR_PAGES = 28 - FIRST_DATA_PAGE


def address_of(number):
    """Return an address in the data pages."""
    return BASE + (FIRST_DATA_PAGE + number % NR_PAGES) * PAGE


class MemoryRules(Actors):
    """mmu_update, mmuext_op, update_va_mapping, memory_op, and the guest's own accesses."""

    @rule(who=numbers, table=numbers, slot=numbers, frame=bits, flags=numbers, command=numbers)
    def mmu_update(self, who, table, slot, frame, flags, command):
        """Change an entry of a table in force, or a word of another frame."""
        who = self.who(who)
        mfn = pick(self.frames_of(who.id, is_table=table % 8 != 7), table // 8)
        entry = self.picture.frames.get(mfn)
        index = pick(self.slots(who, entry.kind if entry else 0), slot)
        op = pick([0, 0, 0, 2, 2, 1, 3, 4], command)
        value = self.entry(who, frame, flags)
        if entry and entry.kind in (2, 3, 4) and flags % 4:
            value = pick(self.tables(who, entry.kind - 1), frame) << 12 | pick(FLAGS[:7], flags)
        self.update(who, [(mfn << 12 | index * 8 | op, value)], choices=frame)

    def slots(self, who, level):
        """Return the entries that a guest changes; domain 0 not those that it needs itself."""
        slots = SLOTS.get(level, [0, 1, 511])
        if who is self.machine.dom0 and level in WAY_TO_ARGUMENTS:
            return [slot for slot in slots if slot != WAY_TO_ARGUMENTS[level]]
        return slots

    def update(self, who, requests, foreign=abi.DOMID_SELF, choices=0):
        """Make mmu_update of some requests."""
        at = who.put([word for request in requests for word in request])
        return self.call(who, "mmu_update", at, len(requests), 0, foreign, choices=choices)

    @rule(who=numbers, page=numbers, frame=bits, flags=numbers, flush=numbers)
    def update_va_mapping(self, who, page, frame, flags, flush):
        """Map something at one of the data pages."""
        who = self.who(who)
        value = self.entry(who, frame, flags)
        arguments = (address_of(page), value, pick(FLUSHES, flush))
        self.call(who, "update_va_mapping", *arguments)

    @rule(who=numbers, page=numbers, flush=numbers, flags=numbers)
    def protect(self, who, page, flush, flags):
        """Change the rights of a data page's usual frame: what every step to a new table needs."""
        who = self.who(who)
        number = FIRST_DATA_PAGE + page % NR_PAGES
        if number < len(who.pages):
            value = who.pages[number] << 12 | pick(FLAGS[:3], flags)
            address = BASE + number * PAGE
            self.call(who, "update_va_mapping", address, value, pick(FLUSHES, flush))

    @rule(who=numbers, page=numbers, level=numbers, entries=bits, flags=numbers)
    def write_table(self, who, page, level, entries, flags):
        """Write what may become a page table of some level into a data page, as ordinary memory."""
        who = self.who(who)
        level = 1 + level % 4
        words = [0] * 512
        if level == 4:
            words[511] = self.machine.memory.page(who.vcpu().guest_table)[511]
        for i in range(entries % 4):
            index = pick(SLOTS[level], entries // 4 + 3 * i)
            words[index] = self.entry(who, (entries >> i) + 16 * i, flags + i)
            if level > 1 and flags % 4:
                below = self.tables(who, level - 1)
                words[index] = pick(below, entries // 8 + i) << 12 | FLAGS[1]
        data = b"".join(word.to_bytes(8, "little") for word in words)
        self.write(who, address_of(page), data)

    def write(self, who, address, data, vcpu=0):
        """Let a guest write to its memory itself, by whatever its processor still knows."""
        try:
            who.write(address, data, vcpu % who.nr_vcpus)
        except (GuestFault, Stopped):
            return

    @rule(who=numbers, page=numbers, value=bits, offset=numbers)
    def touch(self, who, page, value, offset):
        """Access a data page, so that the TLB knows it."""
        address = address_of(page) + offset * 8
        self.write(self.who(who), address, value.to_bytes(8, "little"), vcpu=value)

    @rule(who=numbers, page=numbers, level=numbers, choices=bits, frame=bits)
    def pin(self, who, page, level, choices, frame):
        """Pin a data page's frame, or any, as a table."""
        who = self.who(who)
        number = FIRST_DATA_PAGE + page % NR_PAGES
        mfn = self.frame(who, frame)
        if frame % 4 and number < len(who.pages):
            mfn = who.pages[number]
        self.mmuext(who, pick(PINS, level), mfn, choices=choices)

    @rule(who=numbers, table=numbers, choices=bits)
    def unpin(self, who, table, choices):
        who = self.who(who)
        mfn = pick(self.frames_of(who.id, is_table=True), table)
        if mfn not in who.pages[:1]:
            self.mmuext(who, abi.MMUEXT_UNPIN_TABLE, mfn, choices=choices)

    @rule(who=numbers, table=numbers, choices=bits, user=numbers)
    def new_baseptr(self, who, table, choices, user):
        """Run on another L4, or let user mode do so."""
        who = self.who(who)
        mfn = pick([*self.tables(who, 4), who.pages[0], 0], table)
        if who is self.machine.dom0:
            user = 1  # its kernel must stay able to act
        command = abi.MMUEXT_NEW_USER_BASEPTR if user % 2 else abi.MMUEXT_NEW_BASEPTR
        self.mmuext(who, command, mfn, choices=choices)

    @rule(who=numbers, command=numbers, page=numbers)
    def flush(self, who, command, page):
        self.mmuext(self.who(who), pick(TLB_OPS, command), address_of(page))

    @rule(who=numbers, to=bits, from_=bits, is_copy=numbers)
    def clear_or_copy(self, who, to, from_, is_copy):
        who = self.who(who)
        target = self.frame(who, to)
        if target in who.pages[:8]:
            return  # its tables and argument pages
        command = abi.MMUEXT_COPY_PAGE if is_copy % 2 else abi.MMUEXT_CLEAR_PAGE
        self.mmuext(who, command, target, self.frame(who, from_))

    def mmuext(self, who, command, first, second=0, owner=abi.DOMID_SELF, choices=0):
        """Make one mmuext_op."""
        at = who.put([command, first, second])
        return self.call(who, "mmuext_op", at, 1, 0, owner, choices=choices)

    # Allocation

    @rule(who=numbers, operation=numbers, order=numbers, count=numbers, frame=bits)
    def reservation(self, who, operation, order, count, frame):
        """Get frames, or give some up."""
        who = self.who(who)
        command = operation % 3
        count, order = 1 + count % 4, pick([0, 0, 0, 1, 2, 9], order)
        listed = [self.frame(who, frame + 16 * i) for i in range(count)]
        if command == 1 and set(listed) & set(who.pages[:9]):
            return
        request = who.put(
            abi.xen_memory_reservation,
            extent_start=who.put(listed),
            nr_extents=count,
            extent_order=order,
            domid=abi.DOMID_SELF,
        )
        self.call(who, "memory_op", RESERVATIONS[command], request, choices=frame)

    @rule(who=numbers, sizes=numbers, frame=bits, page=numbers)
    def exchange(self, who, sizes, frame, page):
        """Exchange frames that nobody maps, or try it with others."""
        who = self.who(who)
        orders = pick([(0, 0), (0, 1), (1, 0)], sizes)
        counts = pick([(1, 1), (2, 2)], sizes // 3)
        nr_in = counts[0] << orders[1]
        nr_out = counts[1] << orders[0]
        unused = self.unused_frames(who.id)
        listed = [pick(unused, frame + i) for i in range(nr_in)]
        if frame % 8 == 7:
            listed[-1] = self.frame(who, frame)
        given = {"extent_start": who.put(listed), "nr_extents": nr_in, "domid": abi.DOMID_SELF}
        wanted = {"extent_start": who.put([7] * nr_out), "nr_extents": nr_out}
        wanted |= {"domid": abi.DOMID_SELF, "extent_order": orders[1]}
        if sizes % 16 == 15:
            wanted["extent_start"] = address_of(page)
        request = who.put(
            abi.xen_memory_exchange, in_=given | {"extent_order": orders[0]}, out=wanted
        )
        self.call(who, "memory_op", abi.XENMEM_exchange, request, choices=frame)

    # Descriptor tables

    @rule(who=numbers, page=numbers, count=numbers, page_of_zeros=numbers)
    def set_gdt(self, who, page, count, page_of_zeros):
        """Make data pages the GDT; a page of zeros is a good one."""
        who = self.who(who)
        at = who.put([self.frame(who, 16 * page + i) for i in range(2)])
        if page_of_zeros % 2:
            self.write(who, address_of(page), bytes(PAGE))
        self.call(who, "set_gdt", at, pick([0, 1, 512, 513], count))

    @rule(who=numbers, frame=bits, slot=numbers, value=numbers)
    def update_descriptor(self, who, frame, slot, value):
        who = self.who(who)
        mfn = self.frame(who, frame)
        if mfn in who.pages[:9]:
            return
        descriptor = pick([0, 0x00CFF3000000FFFF, 0x00AFFB000000FFFF, 0x00008200000000FF], value)
        self.call(who, "update_descriptor", mfn << 12 | slot * 8, descriptor)

    @rule(who=numbers, page=numbers, count=numbers)
    def use_ldt(self, who, page, count):
        """Set an LDT, and let the processor look into it."""
        who = self.who(who)
        self.mmuext(who, abi.MMUEXT_SET_LDT, address_of(page), pick([0, 1, 512, 1024], count))
        if who is not self.machine.dom0:  # a fault that it can't take would be the machine's end
            self.page_fault(who, 0, 0xFFFF820000000000 + (16 + count % 3) * PAGE)
