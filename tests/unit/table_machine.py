"""A memory machine with page tables, and a model that counts their references from scratch."""

from collections import Counter

import abi

from kernel.frames.page_owner import PageOwner
from kernel.paging.tree_walk import CURSOR_MASK
from tests.unit.memory_machine import PARTIAL, PINNED, VALIDATED, WRITABLE, MemoryMachine

ERESTART, EINVAL, EBUSY = -abi.ERESTART, -abi.EINVAL, -abi.EBUSY
PRESENT, WRITE, USER = 1, 2, 4


class TableMachine(MemoryMachine):
    """Domain 1 with page tables; `stops` says after which children a walk is interrupted."""

    def __init__(self):
        self.stops = []
        super().__init__(
            "kernel.paging.entry_update",
            also=[
                "kernel.paging.table_ref",
                "kernel.domain.relinquish",
                "kernel.frames.page_type",
                "kernel.frames.allocation",
                "kernel.frames.frame",
            ],
            replace={
                "kernel.paging.tree_walk.is_time_to_stop": lambda walk: self.is_time_to_stop(),
                "kernel.x86.preempt.preempt_pending": lambda: self.is_time_to_stop(),
                "kernel.paging.l4_slots.fill_guest_l4": lambda l4, d: None,
                "kernel.paging.demote.leave_l4": lambda l4: None,
                "kernel.state.domain.get_domain_by_id": self.find_domain,
            },
        )

    def find_domain(self, number):
        """Find a domain, and take a reference."""
        found = self.domains.get(number)
        if found is not None:
            found.refcount += 1
        return found

    def is_time_to_stop(self):
        return self.stops.pop() if self.stops else False

    def start_over(self):
        super().start_over()
        self.stops.clear()
        self.domain = self.new_domain(1)
        self.owner = self.program.new(PageOwner, domain_id=1, domain=self.domain)
        if hasattr(self, "vcpu"):
            self.vcpu.old_guest_table = None

    def put_old(self):
        """Do what every hypercall on page tables does first."""
        while self["kernel.paging.table_ref.put_old_guest_table"](self.vcpu) != 0:
            pass

    def pin(self, mfn, level):
        """Pin a table, or stop half way."""
        result = self["kernel.paging.table_ref.acquire_table"](self.vcpu, self.domain, mfn, level)
        if result == 0 and not self["kernel.frames.page_type.set_pinned"](self.frame(mfn)):
            self["kernel.paging.table_ref.release_table"](self.vcpu, self.domain, mfn, level)
            return EINVAL
        return result

    def unpin(self, mfn):
        """Unpin a table if it is pinned."""
        frame = self.frame(mfn)
        if not self["kernel.frames.page_type.clear_pinned"](frame):
            return EINVAL
        self["kernel.paging.table_ref.release_table"](self.vcpu, self.domain, mfn, frame.info >> 61)
        return 0

    def update(self, mfn, index, value):
        """Change an entry as mmu_update does."""
        info = self.frame(mfn).info
        if not self["kernel.frames.page_type.is_table"](info):
            return EINVAL
        entry = self.page_address(mfn) + 8 * index
        if info >> 61 == 1:
            update = self["kernel.paging.entry_update.update_l1e"]
            return update(entry, value, self.domain, self.owner, 0)
        update = self["kernel.paging.entry_update.update_upper_entry"]
        return update(self.vcpu, entry, value, self.domain, info >> 61, 0)

    def expected(self, frames):
        """Count from the tables in force what `frames` should say: references, and by type."""
        references, types = Counter([self.vcpu.old_guest_table or 0]), {}
        for mfn in frames:
            references[mfn] += 1  # the owner's
            info = self.frame(mfn).info
            level = info >> 61
            if not 1 <= level <= 4 or info >> 32 & (1 << 26) - 1 == 0:
                continue
            if info & PINNED:
                self.hold(references, types, mfn, level)
            if info & PARTIAL:
                self.hold(references, types, mfn, level)
            count = 512 if info & VALIDATED else self.frame(mfn).stamp & CURSOR_MASK
            for index in range(count):
                entry = self.entry(mfn, index)
                if entry & PRESENT and not (level == 4 and 256 <= index < 272):
                    kind = level - 1 or (WRITABLE if entry & WRITE else 0)
                    self.hold(references, types, entry >> 12 & (1 << 40) - 1, kind)
        return references, types

    @staticmethod
    def hold(references, types, mfn, kind):
        references[mfn] += 1
        if kind:
            types.setdefault(mfn, Counter())[kind] += 1

    def check(self, frames):
        """Compare every count with the model: a frame has one type at a time, and no other."""
        references, types = self.expected(frames)
        for mfn in frames:
            found, kind, count = self.counts(mfn)
            assert found == references[mfn], f"references of {mfn:#x}"
            assert types.get(mfn, {}) == ({kind: count} if count else {}), f"types of {mfn:#x}"
