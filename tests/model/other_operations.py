"""What others do to a frame in races: domains that have grants of it, and domain 0 by its right."""

import abi

from tests.model import stage
from tests.model.guest import PAGE
from tests.model.race import call, read, write
from tests.model.race_actors import DATA_PAGE, DOM0, FRAME_PAGE, OTHER, SPARE_PAGE, operation
from tests.model.stage import READABLE, address, entry, remap

# By others, who have grants


@operation(OTHER)
def grant_map(a):
    return [stage.grant_map(a.guest, a.owner, a.ref, a.at), write(a.at + PAGE // 2, 0)]


@operation(OTHER)
def grant_map_readable(a):
    flags = abi.GNTMAP_host_map | abi.GNTMAP_readonly
    return [stage.grant_map(a.guest, a.owner, a.ref, a.at, flags), read(a.at)]


@operation(OTHER)
def grant_unmap(a):
    a.prepare(stage.grant_map(a.guest, a.owner, a.ref, a.at))
    a.touch(a.at, write)
    return [stage.grant_unmap(a.guest, 0, a.at)]


@operation(OTHER)
def grant_overwrite(a):
    a.prepare(stage.grant_map(a.guest, a.owner, a.ref, a.at))
    a.touch(a.at, write)
    return [remap(a.at, 0, 0)]


@operation(OTHER)
def grant_replace(a):
    """Put another mapping in a grant's place."""
    a.prepare(stage.grant_map(a.guest, a.owner, a.ref, a.at))
    a.touch(a.at, write)
    fields = {"host_addr": a.at, "new_addr": address(DATA_PAGE), "handle": 0}
    op = a.guest.put(abi.gnttab_unmap_and_replace, **fields)
    return [call("grant_table_op", abi.GNTTABOP_unmap_and_replace, op, 1)]


@operation(OTHER)
def grant_map_entry(a):
    """Map by the entry's own place."""
    place = a.guest.pages[3] << 12 | 8 * (SPARE_PAGE + a.number)
    flags = abi.GNTMAP_host_map | abi.GNTMAP_contains_pte
    return [stage.grant_map(a.guest, a.owner, a.ref, place, flags)]


@operation(OTHER)
def grant_come_and_go(a):
    flush = stage.mmuext(a.guest, abi.MMUEXT_TLB_FLUSH_LOCAL, 0)
    at = a.at + PAGE // 2
    take = stage.grant_map(a.guest, a.owner, a.ref, a.at)
    return [flush, take, write(at, 0), remap(a.at, 0, 0)]


@operation(OTHER)
def copy_to(a):
    return [stage.grant_copy(a.guest, a.guest.pages[FRAME_PAGE], (a.owner, a.ref))]


@operation(OTHER)
def copy_from(a):
    return [stage.grant_copy(a.guest, (a.owner, a.ref), a.guest.pages[FRAME_PAGE])]


@operation(OTHER)
def populate(a):
    return [stage.populate(a.guest)]


# By domain 0


@operation(DOM0)
def foreign_map(a):
    return [remap(a.at, entry(a.frame), abi.UVMF_INVLPG, a.owner.id)]


@operation(DOM0)
def foreign_map_readable(a):
    return [remap(a.at, entry(a.frame, READABLE), abi.UVMF_INVLPG, a.owner.id)]


@operation(DOM0)
def foreign_unmap(a):
    a.prepare(remap(a.at, entry(a.frame), abi.UVMF_INVLPG, a.owner.id))
    a.touch(a.at, write)
    return [remap(a.at, 0, 0)]


@operation(DOM0)
def foreign_pin(a):
    a.contents(1)
    return [stage.pin(a.guest, a.frame, 1, a.owner.id)]


@operation(DOM0)
def foreign_unpin(a):
    a.contents(1)
    a.prepare(stage.pin(a.guest, a.frame, 1, a.owner.id))
    return [stage.unpin(a.guest, a.frame, a.owner.id)]


@operation(DOM0)
def foreign_update(a):
    a.contents(1)
    a.prepare(stage.pin(a.guest, a.frame, 1, a.owner.id))
    whose = a.owner.id | a.owner.id + 1 << 16
    return [stage.update(a.guest, a.frame, 100, a.data, whose)]


@operation(DOM0)
def destroy(a):
    return [stage.destroy(a.guest, a.owner)]
