"""The *foreign domain* argument of the hypercalls on page tables: whose frames are meant."""

import abi
from kpy import Ptr, Tainted, i64, inline, noinline, require, truncate, trusted, u16, u64

from kernel.base.ids import DomId
from kernel.frames.page_owner import PageOwner
from kernel.state.domain import Domain, get_domain_by_id
from kernel.state.vcpu import Vcpu


@inline
def find_page_owner(v: Ptr[Vcpu], named: Tainted[u64], owner: Ptr[PageOwner]) -> i64:
    """Look up whom a guest names by the low 16 bits of an argument.

    After a success `with owner:` gives back what this took.

    Errors: -ESRCH, there is no such domain, or it is the caller's own by number.
    """
    if truncate(u16, named) == abi.DOMID_SELF:
        owner.domain_id = v.domain.domain_id
        owner.domain = v.domain
        return 0
    return find_foreign_owner(v, truncate(u16, named), owner)


@noinline
def find_foreign_owner(v: Ptr[Vcpu], named: Tainted[u16], owner: Ptr[PageOwner]) -> i64:
    """Do what `find_page_owner` promises for another domain, or one of the ids that stand for no
    domain.
    """
    owner.domain_id = DomId(trusted(named))  # only ever compared
    if named == abi.DOMID_IO:
        owner.domain = v.domain
        return 0
    if named == abi.DOMID_XEN:
        return 0
    require(DomId(named) != v.domain.domain_id, -abi.ESRCH)
    found = get_domain_by_id(DomId(named))
    require(found is not None, -abi.ESRCH)
    owner.domain = found
    owner.is_foreign = True
    return 0


@inline
def may_act_on(caller: Ptr[Domain], owner: DomId) -> bool:
    """Say whether a domain may change memory of `owner`: its own, or any if it is privileged."""
    return owner == caller.domain_id or caller.is_privileged
