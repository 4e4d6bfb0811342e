"""GNTTABOP_copy: what may be named, bounds, and that every reference goes back."""

import ctypes

import abi
import pytest

from tests.unit.grant_machine import CALLER, GRANTER, GrantMachine

SELF = abi.DOMID_SELF
FROM_GRANT, TO_GRANT = abi.GNTCOPY_source_gref, abi.GNTCOPY_dest_gref
OURS, THEIRS = 0x100, 0x200
TEXT = bytes(range(256)) * 16


def copy(to, from_, size):
    """Copy in this process's memory."""
    ctypes.memmove(to, from_, size)
    return 0


class Machine(GrantMachine):
    """A caller and a granter with a frame each."""

    def __init__(self):
        super().__init__(
            "kernel.grant.copy",
            replace={
                "kernel.base.guest_memory.guest_copy": copy,
                "kernel.state.domain.get_domain": lambda d: self.count(
                    self.domain_references, d, 1
                ),
                "kernel.x86.memlayout.mfn_to_vaddr": lambda mfn: self.frames[mfn][1],
            },
        )

    def start_over(self):
        super().start_over()
        self.new_frame(self.caller, OURS)
        self.new_frame(self.granter, THEIRS, TEXT)

    def request(self, source, dest, length=16, flags=0, offsets=(0, 0)):
        """Make a structure; source and dest are (domid, grant or frame)."""
        op = self.program.new(abi.gnttab_copy, len=length, flags=flags)
        for side, (domid, name), offset in (
            (op.source, source, offsets[0]),
            (op.dest, dest, offsets[1]),
        ):
            side.u.gmfn, side.domid, side.offset = name, domid, offset
        return op

    def run(self, *requests):
        """Do them; return their states."""
        address = self.put_arguments(requests)
        assert self.program.copy_grants(self.vcpu, address, len(requests)) == 0
        states = [self.result(abi.gnttab_copy, i, "status") for i in range(len(requests))]
        assert self.is_balanced()
        return states


def test_from_a_grant(machine):
    """The bytes arrive, and the grant is free again."""
    entry = machine.grant(3, THEIRS)
    request = machine.request((GRANTER, 3), (SELF, OURS), 100, FROM_GRANT, offsets=(10, 4000 - 4))
    assert machine.run(request) == [abi.GNTST_okay]
    assert machine.text(OURS, 3996, 100) == TEXT[10:110]
    assert entry.flags == abi.GTF_permit_access


def test_to_a_grant(machine):
    """Needs a grant that may be written."""
    machine.grant(3, THEIRS)
    machine.grant(4, THEIRS, abi.GTF_permit_access | abi.GTF_readonly)
    good = machine.request((SELF, OURS), (GRANTER, 3), 8, TO_GRANT)
    bad = machine.request((SELF, OURS), (GRANTER, 4), 8, TO_GRANT)
    assert machine.run(good, bad) == [abi.GNTST_okay, abi.GNTST_general_error]
    assert machine.text(THEIRS, 0, 9) == bytes(8) + TEXT[8:9]


@pytest.mark.parametrize(
    ("source", "dest", "flags", "length", "offsets", "state"),
    [
        ((GRANTER, THEIRS), (SELF, OURS), 0, 1, (0, 0), abi.GNTST_permission_denied),
        ((CALLER, OURS), (SELF, OURS), 0, 1, (0, 0), abi.GNTST_permission_denied),
        ((99, 3), (SELF, OURS), FROM_GRANT, 1, (0, 0), abi.GNTST_bad_domain),
        ((GRANTER, 512), (SELF, OURS), FROM_GRANT, 1, (0, 0), abi.GNTST_bad_gntref),
        ((GRANTER, 9), (SELF, OURS), FROM_GRANT, 1, (0, 0), abi.GNTST_general_error),
        ((SELF, 0x999), (SELF, OURS), 0, 1, (0, 0), abi.GNTST_bad_page),
        ((SELF, THEIRS), (SELF, OURS), 0, 1, (0, 0), abi.GNTST_bad_page),
        ((SELF, OURS), (SELF, OURS), 0, 4096, (0, 1), abi.GNTST_bad_copy_arg),
        ((SELF, OURS), (SELF, OURS), 0, 2, (4095, 0), abi.GNTST_bad_copy_arg),
        ((SELF, OURS), (SELF, OURS), 0, 0xFFFF, (0xFFFF, 0), abi.GNTST_bad_copy_arg),
        ((SELF, OURS), (SELF, OURS), 0, 4096, (0, 0), abi.GNTST_okay),
    ],
)
def test_states(machine, source, dest, flags, length, offsets, state):
    """Each reason to refuse, and that nothing stays referenced."""
    assert machine.run(machine.request(source, dest, length, flags, offsets)) == [state]


def test_page_table_as_destination(machine):
    """A frame that can't be had as writable memory."""
    machine.untyped.add(OURS)
    assert machine.run(machine.request((SELF, OURS), (SELF, OURS))) == [abi.GNTST_general_error]


def test_a_batch_claims_each_side_once(machine):
    """Requests that name the same grant in a row don't pin it again."""
    machine.grant(3, THEIRS)
    machine.grant(4, THEIRS)
    requests = [
        machine.request((GRANTER, number), (SELF, OURS), 4, FROM_GRANT, (i, i))
        for i, number in enumerate((3, 3, 3, 4, 4, 3))
    ]
    assert machine.run(*requests) == [abi.GNTST_okay] * 6
    assert machine.referenced == [THEIRS, OURS, THEIRS, THEIRS]


def test_unreadable_structure(machine):
    """-EFAULT; what was claimed before goes back."""
    machine.grant(3, THEIRS)
    request = machine.request((GRANTER, 3), (SELF, OURS), 4, FROM_GRANT)
    end = machine.memory.base + len(machine.memory.bytes)
    size = request.type.size
    machine.memory.write(end - size, ctypes.string_at(request.address, size))
    assert machine.program.copy_grants(machine.vcpu, end - size, 2) == -abi.EFAULT
    assert machine.referenced == [THEIRS, OURS] and machine.is_balanced()


def test_goes_on_after_preemption(machine):
    """What is left is described by the arguments for the next attempt."""
    machine.grant(3, THEIRS)
    requests = [machine.request((GRANTER, 3), (SELF, OURS), 4, FROM_GRANT) for _ in range(5)]
    address = machine.put_arguments(requests)
    machine.preempt_after = 2
    assert machine.program.copy_grants(machine.vcpu, address, 5) == -abi.ERESTART
    again = list(machine.vcpu.continuation)
    assert again == [abi.GNTTABOP_copy, address + 3 * requests[0].type.size, 2, 0]
    assert machine.is_balanced()
