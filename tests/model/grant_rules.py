"""Rules for memory that domains share: grant tables, mapping and unmapping, copies."""

import abi
from hypothesis.stateful import rule

from tests.model.actors import bits, numbers, pick
from tests.model.guest import BASE, FIRST_DATA_PAGE, PAGE
from tests.model.memory_rules import NR_PAGES, MemoryRules, address_of

GRANT_PAGE = BASE + 40 * PAGE  # where a guest maps the first frame of its table
NR_GRANTS = 8
GRANT_FLAGS = [
    abi.GTF_permit_access,
    abi.GTF_permit_access,
    abi.GTF_permit_access | abi.GTF_readonly,
    abi.GTF_accept_transfer,
    abi.GTF_permit_access | abi.GTF_reading,
    0,
]
MAP_FLAGS = [
    abi.GNTMAP_host_map,
    abi.GNTMAP_host_map | abi.GNTMAP_readonly,
    abi.GNTMAP_host_map | abi.GNTMAP_device_map,
    abi.GNTMAP_device_map | abi.GNTMAP_readonly,
    abi.GNTMAP_host_map | abi.GNTMAP_contains_pte,
    0,
]


class GrantRules(MemoryRules):
    """grant_table_op."""

    def __init__(self):
        super().__init__()
        self.mapped = []  # (guest, handle, address, bus address) of mappings that were made

    def prepare(self, guest):
        super().prepare(guest)
        self.map_table(guest)
        self.offer_some(guest)

    def grant(self, who, operation, type_, choices=0, **fields):
        """Make one grant operation; return the structure, with its status, or None."""
        at = who.put(type_, **fields)
        if self.call(who, "grant_table_op", operation, at, 1, choices=choices) != 0:
            return None
        return who.get(type_, at)

    def map_table(self, who):
        """Set a guest's table up, and map its first frame where the guest will write grants."""
        at = who.put([0])
        fields = {"dom": abi.DOMID_SELF, "nr_frames": 1, "frame_list": at}
        op = who.put(abi.gnttab_setup_table, **fields)
        assert self.call(who, "grant_table_op", abi.GNTTABOP_setup_table, op, 1) == 0
        entry = who.words(at, 1)[0] << 12 | 7
        assert self.call(who, "update_va_mapping", GRANT_PAGE, entry, abi.UVMF_INVLPG) == 0

    def offer_some(self, who):
        """Offer a few frames to everybody, to begin with."""
        others = [other for other in self.everybody() if other is not who]
        for number in range(NR_GRANTS // 2):
            flags, to = pick(GRANT_FLAGS[1:3], number), pick(others, number)
            word = flags | to.id << 16 | who.pages[-1 - number] << 32
            self.write(who, GRANT_PAGE + 8 * number, word.to_bytes(8, "little"))

    @rule(who=numbers, to=numbers, number=numbers, frame=bits, flags=numbers)
    def offer(self, who, to, number, frame, flags):
        """Write an entry of the own table: atomically, as guests must."""
        who, to = self.who(who), pick(self.everybody(), to)
        mfn, flags = self.frame(who, frame), pick(GRANT_FLAGS, flags)
        word = flags | to.id << 16 | (mfn & 0xFFFFFFFF) << 32
        self.write(who, GRANT_PAGE + 8 * (number % NR_GRANTS), word.to_bytes(8, "little"))

    @rule(who=numbers, granter=numbers, number=numbers, page=numbers, flags=numbers, choices=bits)
    def map_grant(self, who, granter, number, page, flags, choices):
        """Map what another offers, best something that it offers to the caller."""
        who = self.who(who)
        others = [other for other in self.everybody() if self.offers(other, who)]
        granter = pick(others or self.everybody(), granter)
        number, flags, address = number % NR_GRANTS, pick(MAP_FLAGS, flags), address_of(page)
        offered = self.offers(granter, who)
        if offered and choices % 4:
            number = pick(offered, number)
        if flags & abi.GNTMAP_contains_pte:
            l1 = pick(self.tables(who, 1), choices)
            address = l1 << 12 | 8 * (FIRST_DATA_PAGE + page % NR_PAGES)
        may = self.may_use(granter, number, who, writes=not flags & abi.GNTMAP_readonly)
        fields = {"host_addr": address, "flags": flags, "ref": number, "dom": granter.id}
        op = self.grant(
            who, abi.GNTTABOP_map_grant_ref, abi.gnttab_map_grant_ref, choices, **fields
        )
        if op is not None and op.status == abi.GNTST_okay:
            assert may, f"d{who.id} mapped what d{granter.id} does not offer it"
            self.mapped.append((who, op.handle, address, op.dev_bus_addr))

    def may_use(self, granter, number, who, writes):
        """Whether an entry grants this to a guest now, or did when its use began."""
        if self.machine.domain(granter.id) is None or granter.domain.grant.shared[0] is None:
            return False
        if any(grant.number == number for grant in self.picture.grants(granter.domain)):
            return True  # the invariants look after that
        entry = granter.domain.grant.shared[0].entries[number]
        is_open = entry.flags & abi.GTF_type_mask == abi.GTF_permit_access
        is_writable = not entry.flags & abi.GTF_readonly
        return is_open and entry.domid == who.id and (is_writable or not writes)

    def offers(self, granter, who):
        """Return the numbers of the grants that one guest offers another."""
        if self.machine.domain(granter.id) is None or granter.domain.grant.shared[0] is None:
            return []
        entries = enumerate(granter.domain.grant.shared[0].entries[n] for n in range(NR_GRANTS))
        return [n for n, entry in entries if entry.flags & 3 == 1 and entry.domid == who.id]

    @rule(mapping=numbers, what=numbers, page=numbers, choices=bits)
    def unmap_grant(self, mapping, what, page, choices):
        """Undo a mapping, whole or in part, perhaps with something else in its place."""
        if not self.mapped:
            return
        who, handle, address, bus_address = pick(self.mapped, mapping)
        if not self.is_able(who):
            return
        if what % 8 == 7:
            new = address if page % 8 == 0 else address_of(page)
            fields = {"host_addr": address, "new_addr": new, "handle": handle}
            type_, number = abi.gnttab_unmap_and_replace, abi.GNTTABOP_unmap_and_replace
        else:
            type_, number = abi.gnttab_unmap_grant_ref, abi.GNTTABOP_unmap_grant_ref
            fields = {"handle": handle + (what % 8 == 6)}
            fields["host_addr"] = 0 if what % 8 == 4 else address
            fields["dev_bus_addr"] = bus_address if what % 8 in (3, 4) else 0
        self.grant(who, number, type_, choices, **fields)

    @rule(who=numbers, sides=numbers, first=bits, second=bits, length=numbers, choices=bits)
    def copy(self, who, sides, first, second, length, choices):
        """Let the core copy between frames, each the caller's or granted."""
        who = self.who(who)
        flags, ends = 0, []
        for i, drawn in enumerate((first, second)):
            if sides >> i & 1:
                other = pick(self.everybody(), drawn)
                numbers_ = self.offers(other, who) or [drawn % NR_GRANTS]
                ends.append({"domid": other.id, "u": {"ref": pick(numbers_, drawn // 8)}})
                flags |= abi.GNTCOPY_dest_gref if i else abi.GNTCOPY_source_gref
            else:
                mfn = self.frame(who, drawn)
                if i and mfn in who.pages[:9]:
                    return
                ends.append({"domid": abi.DOMID_SELF, "u": {"gmfn": mfn}})
            ends[i]["offset"] = pick([0, 8, 4000], drawn)
        source, dest = ends
        self.grant(
            who,
            abi.GNTTABOP_copy,
            abi.gnttab_copy,
            choices,
            source=source,
            dest=dest,
            flags=flags,
            len=pick([0, 16, 96, 4096], length),
        )

    @rule(who=numbers, of=numbers, count=numbers)
    def set_up_table(self, who, of, count):
        """List the frames of a table, which grows for that."""
        who, of = self.who(who), pick(self.everybody(), of)
        at = who.put([0] * 6)
        self.grant(
            who,
            abi.GNTTABOP_setup_table,
            abi.gnttab_setup_table,
            dom=of.id,
            nr_frames=count % 6,
            frame_list=at,
        )

    @rule(who=numbers, of=numbers)
    def query(self, who, of):
        who, of = self.who(who), pick(self.everybody(), of)
        op = self.grant(who, abi.GNTTABOP_query_size, abi.gnttab_query_size, dom=of.id)
        if op is not None and op.status == abi.GNTST_okay:
            assert op.nr_frames == of.domain.grant.nr_frames <= op.max_nr_frames
