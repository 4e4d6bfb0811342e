"""Mapping and unmapping grants.

The order of page tables, flush and references, and what handles are good for.
"""

import abi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.grant_machine import ARGUMENTS, CALLER, GRANTER, PAGE, GrantMachine

HOST, DEVICE, READONLY = abi.GNTMAP_host_map, abi.GNTMAP_device_map, abi.GNTMAP_readonly
FRAME = 0x200
ADDRESS = 0x7000_0000


class Machine(GrantMachine):
    """A caller whose page tables are a dictionary: address -> frame."""

    def __init__(self):
        self.tables, self.events, self.map_result = {}, [], 0
        super().__init__(
            "kernel.grant.map",
            also=["kernel.grant.unmap", "kernel.grant.release"],
            replace={
                "kernel.frames.core_page.alloc_core_page": lambda: self.program.new(PAGE).address,
                "kernel.grant.l1_mapping.create_grant_mapping": self.create,
                "kernel.grant.l1_mapping.replace_grant_mapping": self.replace,
                "kernel.x86.ipi.flush_tlb_mask": lambda cpus: self.events.append("flush"),
            },
        )

    def start_over(self):
        super().start_over()
        self.tables.clear()
        self.events.clear()
        self.map_result = 0
        self.new_frame(self.granter, FRAME)

    def create(self, vcpu, address, mfn, flags):
        if self.map_result == 0:
            self.tables[address] = mfn
        return self.map_result

    def replace(self, vcpu, address, mfn, new_address, flags):
        if self.tables.get(address) != mfn:
            return abi.GNTST_general_error
        del self.tables[address]
        self.events.append("clear")
        if new_address:
            self.tables[address] = self.tables.pop(new_address)
        return 0

    def map(self, number=3, flags=HOST, domain=GRANTER, address=ADDRESS):
        op = self.program.new(
            abi.gnttab_map_grant_ref, ref=number, flags=flags, dom=domain, host_addr=address
        )
        self.program.map_grant_ref(self.vcpu, op)
        return op

    def unmap(self, *requests):
        """Unmap (handle, address[, bus address]) in one call; return the states."""
        ops = [
            self.program.new(
                abi.gnttab_unmap_grant_ref,
                handle=handle,
                host_addr=address,
                dev_bus_addr=bus[0] if bus else 0,
            )
            for handle, address, *bus in requests
        ]
        address = self.put_arguments(ops)
        unmap = self.program["kernel.grant.unmap.unmap_grant_refs"]
        assert unmap(self.vcpu, address, len(ops)) == 0
        return [self.result(abi.gnttab_unmap_grant_ref, i, "status") for i in range(len(ops))]


def test_map_and_unmap(machine):
    """The flush comes between the page table and the frame's release."""
    entry = machine.grant(3, FRAME)
    op = machine.map()
    assert (op.status, op.dev_bus_addr) == (abi.GNTST_okay, FRAME << 12)
    assert machine.tables == {ADDRESS: FRAME} and machine.references == {FRAME: 1}
    assert machine.unmap((op.handle, ADDRESS)) == [abi.GNTST_okay]
    assert machine.events == ["clear", "flush"]
    assert machine.is_balanced() and entry.flags == abi.GTF_permit_access


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"flags": READONLY}, abi.GNTST_bad_gntref),
        ({"domain": 99}, abi.GNTST_bad_domain),
        ({"domain": abi.DOMID_SELF}, abi.GNTST_bad_domain),
        ({"number": 512}, abi.GNTST_bad_gntref),
        ({"number": 9}, abi.GNTST_general_error),
    ],
)
def test_refusals(machine, changes, state):
    """Nothing is left behind, and the handle is given out again."""
    machine.grant(3, FRAME)
    assert machine.map(**changes).status == state
    assert machine.is_balanced()
    assert machine.map().handle == 0


def test_page_tables_refuse(machine):
    """What could not be mapped is not pinned."""
    entry = machine.grant(3, FRAME)
    machine.map_result = abi.GNTST_general_error
    assert machine.map(flags=HOST | DEVICE).status == abi.GNTST_general_error
    assert machine.is_balanced() and entry.flags == abi.GTF_permit_access


def test_handles_run_out(machine):
    """As many as the limit's frames hold."""
    machine.grant(3, FRAME)
    machine.caller.grant.max_maptrack_frames = 0
    assert machine.map().status == abi.GNTST_no_space


@pytest.mark.parametrize("handle", [0, 1, 255, 256, (1 << 32) - 1])
def test_handles_nobody_gave(machine, handle):
    """Never given out, or given back."""
    assert machine.unmap((handle, ADDRESS)) == [abi.GNTST_bad_handle]
    assert machine.events == []


def test_wrong_address(machine):
    """The mapping stays, and can still be unmapped."""
    machine.grant(3, FRAME)
    op = machine.map()
    states = machine.unmap((op.handle, ADDRESS + 4096), (op.handle, ADDRESS), (op.handle, ADDRESS))
    assert states == [abi.GNTST_general_error, abi.GNTST_okay, abi.GNTST_bad_handle]
    assert machine.is_balanced()


def test_host_and_device_part(machine):
    """Each goes on its own; the handle with the last of them."""
    machine.grant(3, FRAME)
    op = machine.map(flags=HOST | DEVICE)
    assert machine.references == {FRAME: 2} and machine.types == {FRAME: 2}
    bus = op.dev_bus_addr
    assert machine.unmap((op.handle, 0, bus + 4096)) == [abi.GNTST_bad_dev_addr]
    assert machine.unmap((op.handle, 0, bus)) == [abi.GNTST_okay]
    assert machine.references == {FRAME: 1} and machine.events == []
    assert machine.unmap((op.handle, ADDRESS, bus)) == [abi.GNTST_okay]
    assert machine.is_balanced()
    assert machine.unmap((op.handle, ADDRESS)) == [abi.GNTST_bad_handle]


def test_one_flush_for_a_batch(machine):
    """However many mappings go in one call."""
    machine.grant(3, FRAME)
    ops = [machine.map(address=ADDRESS + 4096 * i) for i in range(20)]
    machine.unmap(*[(op.handle, op.host_addr) for op in ops])
    assert machine.events == ["clear"] * 20 + ["flush"]
    assert machine.is_balanced()


def test_preempted_unmap_goes_on(machine):
    """Between batches of 32."""
    machine.grant(3, FRAME)
    ops = [machine.map(address=ADDRESS + 4096 * i) for i in range(40)]
    machine.preempt_after = 0
    requests = [
        machine.program.new(abi.gnttab_unmap_grant_ref, handle=op.handle, host_addr=op.host_addr)
        for op in ops
    ]
    address = machine.put_arguments(requests)
    unmap = machine.program["kernel.grant.unmap.unmap_grant_refs"]
    assert unmap(machine.vcpu, address, 40) == -abi.ERESTART
    size = requests[0].type.size
    assert list(machine.vcpu.continuation)[:3] == [1, ARGUMENTS + 32 * size, 8]
    machine.preempt_after = None
    assert unmap(machine.vcpu, ARGUMENTS + 32 * size, 8) == 0
    assert machine.is_balanced()


def test_the_pins_of_another_user_stay(machine):
    """A mapping whose entry the guest overwrote outlives its granter; the next domain of that id
    may offer the same frame by the same number, to somebody else.
    """
    machine.grant(3, FRAME)
    machine.map()
    active = machine.granter.grant.active[0].entries[3]
    active.domain_id = CALLER + 1
    pinned = active.pin
    assert machine.program["kernel.grant.release.grant_release_mappings"](machine.caller) == 0
    assert active.pin == pinned and machine.domain_references == {}


def test_death_of_the_mapper(machine):
    """Pins go; references of page-table entries stay theirs, those of device mappings go."""
    entry = machine.grant(3, FRAME)
    machine.map()
    machine.map(flags=HOST | DEVICE | READONLY, address=ADDRESS + 4096)
    release = machine.program["kernel.grant.release.grant_release_mappings"]
    assert release(machine.caller) == 0
    assert entry.flags == abi.GTF_permit_access
    assert machine.references == {FRAME: 2} and machine.types == {FRAME: 1}
    assert machine.domain_references == {}


@settings(max_examples=50, deadline=None)
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.booleans()), max_size=30))
def test_references_follow_mappings(compiled, steps):
    """Whatever is mapped and unmapped in whatever order, references equal mappings."""
    machine = compiled
    machine.start_over()
    machine.grant(3, FRAME)
    mapped = {}
    for is_map, slot, readonly in steps:
        address = ADDRESS + 4096 * slot
        if is_map and slot not in mapped:
            op = machine.map(flags=HOST | (READONLY if readonly else 0), address=address)
            assert op.status == abi.GNTST_okay
            mapped[slot] = (op.handle, readonly)
        elif not is_map and slot in mapped:
            handle, _ = mapped.pop(slot)
            assert machine.unmap((handle, address)) == [abi.GNTST_okay]
        assert machine.references.get(FRAME, 0) == len(mapped)
        assert machine.types.get(FRAME, 0) == sum(not readonly for _, readonly in mapped.values())
        assert len({handle for handle, _ in mapped.values()}) == len(mapped)
