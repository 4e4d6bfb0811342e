"""Entering domains into the table of all of them, and leaving it; looking up is in `domain`."""

import abi
from kpy import Ptr, load, ref, store, u16, u64

from kernel.base.ids import DomId
from kernel.state.domain import HASH_BUCKETS, MAX_DOMAINS, Domain, domain_table, find_domain


def link_domain(domain: Ptr[Domain]) -> bool:
    """Enter a new domain into the table. Returns: whether there was room, and its id unused."""
    with domain_table.lock:
        if domain_table.nr_domains == MAX_DOMAINS or find_domain(domain.domain_id) is not None:
            return False
        domain_table.nr_domains += 1
        bucket = ref(domain_table.buckets[u64(domain.domain_id) % HASH_BUCKETS])
        domain.hash_next = load(bucket)
        store(bucket, domain)
        previous = predecessor(domain)
        if previous is None:
            domain.list_next = domain_table.first
            domain_table.first = domain
        else:
            domain.list_next = previous.list_next
            previous.list_next = domain
    return True


def unlink_domain(domain: Ptr[Domain]) -> None:
    """Take a domain out of the table. Locks: the table's, held."""
    domain_table.nr_domains -= 1
    previous = predecessor(domain)
    if previous is None:
        domain_table.first = domain.list_next
    else:
        previous.list_next = domain.list_next
    bucket = u64(domain.domain_id) % HASH_BUCKETS
    other = domain_table.buckets[bucket]
    if other == domain:
        domain_table.buckets[bucket] = domain.hash_next
        return
    while other is not None:
        if other.hash_next == domain:
            other.hash_next = domain.hash_next
            return
        other = other.hash_next


def predecessor(domain: Ptr[Domain]) -> Ptr[Domain] | None:
    """Return the domain with the greatest id below this one's. Locks: the table's, held."""
    previous: Ptr[Domain] | None = None
    other = domain_table.first
    while other is not None:
        if other.domain_id >= domain.domain_id:
            return previous
        previous = other
        other = other.list_next
    return previous


def first_free_domain_id() -> DomId:
    """Return an unused id, counting on from the last one so that ids are not reused soon."""
    with domain_table.lock:
        candidate = domain_table.last_id
        while True:
            candidate += 1
            if candidate >= abi.DOMID_FIRST_RESERVED:
                candidate = 1
            if find_domain(DomId(u16(candidate))) is None:
                domain_table.last_id = candidate
                return DomId(u16(candidate))
