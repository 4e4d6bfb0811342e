"""The page-table side of grants: where a mapping goes, and what takes its place."""

import abi
import pytest

from tests.unit.memory_machine import MemoryMachine

PRESENT, WRITE, USER = 1, 2, 4
READ_WRITE = PRESENT | WRITE | USER
HERE, THERE = 0x3000, 0x4000


class Machine(MemoryMachine):
    """A vCPU whose lowest 2 MiB are mapped by one L1 table."""

    def __init__(self):
        super().__init__("kernel.grant.l1_mapping", also=["kernel.frames.allocation"])

    def start_over(self):
        super().start_over()
        if not hasattr(self, "vcpu"):
            return
        self.vcpu.domain = self.new_domain(1)
        tables = [self.alloc(self.vcpu.domain) for _ in range(4)]
        for table, below in zip(tables, tables[1:], strict=False):
            self.set_entry(table, 0, below << 12 | READ_WRITE)
        self.vcpu.guest_table, self.l1 = tables[0], tables[3]
        self.granted, self.own = 0x7000, 0x8000
        self.set_entry(self.l1, HERE >> 12, self.granted << 12 | READ_WRITE)
        self.set_entry(self.l1, THERE >> 12, self.own << 12 | READ_WRITE)

    def replace(self, address, new_address, flags=abi.GNTMAP_host_map):
        replace = self["kernel.grant.l1_mapping.replace_grant_mapping"]
        return replace(self.vcpu, address, self.granted, new_address, flags)

    def mapped(self, address):
        return self.entry(self.l1, address >> 12) >> 12


def test_unmap(machine):
    assert machine.replace(HERE, 0) == abi.GNTST_okay
    assert machine.mapped(HERE) == 0 and machine.mapped(THERE) == machine.own


def test_another_mapping_takes_its_place(machine):
    assert machine.replace(HERE, THERE) == abi.GNTST_okay
    assert machine.mapped(HERE) == machine.own and machine.mapped(THERE) == 0


def test_a_mapping_does_not_take_its_own_place(machine):
    """It would stay, and its references would be given back all the same."""
    assert machine.replace(HERE, HERE + 8) == abi.GNTST_general_error
    assert machine.mapped(HERE) == machine.granted


@pytest.mark.parametrize(
    ("address", "new_address", "flags"),
    [
        (THERE, 0, abi.GNTMAP_host_map),
        (HERE, 0, abi.GNTMAP_host_map | abi.GNTMAP_readonly),
        (HERE, 1 << 30, abi.GNTMAP_host_map),
        (HERE, THERE, abi.GNTMAP_host_map | abi.GNTMAP_contains_pte),
    ],
)
def test_refusals(machine, address, new_address, flags):
    assert machine.replace(address, new_address, flags) == abi.GNTST_general_error
    assert machine.mapped(HERE) == machine.granted and machine.mapped(THERE) == machine.own
