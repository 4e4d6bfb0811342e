"""Grants whose granter is gone: the mapper overwrote its page-table entry, so nothing kept the
granter, and its number may have come to another domain.
"""

import abi
import pytest

from tests.model import invariants
from tests.model.errors import guest, other
from tests.model.guest import FIRST_DATA_PAGE, domctl
from tests.model.test_defects import make_dead_but_present, setup_table
from tests.model.test_errors_grant import FREE_VA, GRANTED, HOST, OP
from tests.model.test_out_of_memory import CONFIG

UPDATE_VA = abi.__HYPERVISOR_update_va_mapping
IN_SECOND_FRAME = 600  # a grant that a table of one frame has no place for


@pytest.fixture
def forgotten(machine):
    """The machine, where the guest has mapped a grant, handle 0, and overwritten the entry."""
    assert setup_table(other(machine), abi.DOMID_SELF, 2)[0] == abi.GNTST_okay
    page = other(machine).domain.grant.shared[1]
    entry = page.entries[IN_SECOND_FRAME % 512]
    entry.frame, entry.domid = other(machine).pages[FIRST_DATA_PAGE], 1
    entry.flags = abi.GTF_permit_access
    assert map_grant(machine, IN_SECOND_FRAME) == abi.GNTST_okay
    assert guest(machine).call(UPDATE_VA, FREE_VA, 0, abi.UVMF_INVLPG) == 0
    return machine


def map_grant(machine, number):
    fields = {"ref": number, "dom": 2, "flags": HOST, "host_addr": FREE_VA}
    at = guest(machine).put(abi.gnttab_map_grant_ref, **fields)
    assert guest(machine).call(OP, abi.GNTTABOP_map_grant_ref, at, 1) == 0
    return guest(machine).get(abi.gnttab_map_grant_ref, at).status


def unmap(machine):
    """Unmap handle 0; return the status."""
    at = guest(machine).put(abi.gnttab_unmap_grant_ref, host_addr=FREE_VA, handle=0)
    assert guest(machine).call(OP, abi.GNTTABOP_unmap_grant_ref, at, 1) == 0
    return guest(machine).get(abi.gnttab_unmap_grant_ref, at).status


def destroy(machine, domain_id):
    domctl(machine.dom0, abi.XEN_DOMCTL_destroydomain, domain_id)
    assert machine.domain(domain_id) is None


def give_number_to_another(machine):
    """Let there be another domain 2, whose grant table is as small as it comes."""
    destroy(machine, 2)
    found = domctl(machine.dom0, abi.XEN_DOMCTL_createdomain, 2, createdomain=CONFIG)
    assert found.domain == 2


def get_frame(machine, mfn):
    """Let the guest get a certain frame from the heap, and map it where the grant was."""
    who = guest(machine)
    who.domain.max_pages = 1 << 16
    allocate = machine["kernel.frames.allocation.alloc_domain_frames"]
    while allocate(who.domain, 0, 0) != mfn:
        pass
    assert who.call(UPDATE_VA, FREE_VA, mfn << 12 | 7, abi.UVMF_INVLPG) == 0


def test_the_granter_is_gone(forgotten):
    destroy(forgotten, 2)
    assert unmap(forgotten) == abi.GNTST_bad_domain


def test_its_number_is_anothers_when_the_mapper_goes(forgotten):
    """Nothing of the other's is taken back."""
    give_number_to_another(forgotten)
    destroy(forgotten, 1)
    invariants.check(forgotten)


def test_its_number_and_its_frame_are_others_when_the_mapper_unmaps(forgotten):
    """The frame is the mapper's own by now, and mapped as the grant was."""
    mfn = other(forgotten).pages[FIRST_DATA_PAGE]
    destroy(forgotten, 2)
    get_frame(forgotten, mfn)
    config = {"createdomain": CONFIG}
    domctl(forgotten.dom0, abi.XEN_DOMCTL_createdomain, 2, **config)
    assert unmap(forgotten) == abi.GNTST_okay
    invariants.check(forgotten)


def test_a_dead_granter_has_no_grants(machine):
    """What the core knows of them stays while somebody holds the domain."""
    machine.guests.reverse()
    make_dead_but_present(machine)
    machine.guests.reverse()
    assert map_grant(machine, GRANTED) == abi.GNTST_bad_gntref
