"""Ownership and references: who gets a frame, when it is scrubbed, and when it is free again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.memory_machine import FIRST, NR_FRAMES, PAGE, MemoryMachine

SECRET = b"a secret"
DYING = 1


@pytest.fixture(scope="module")
def machine():
    return MemoryMachine(
        "kernel.frames.core_page",
        also=[
            "kernel.frames.exchange",
            "kernel.frames.allocation",
            "kernel.frames.frame",
            "kernel.frames.claims",
            "kernel.frames.page_type",
        ],
    )


@pytest.fixture
def fresh(machine):
    machine.start_over()
    return machine


def drop(machine, mfn):
    assert machine["kernel.frames.frame.drop_allocation"](machine.frame(mfn))


def test_a_frame_belongs_to_one_domain(fresh):
    one, two = fresh.new_domain(1), fresh.new_domain(2)
    mfn = fresh.alloc(one)
    assert not fresh["kernel.frames.frame.get_frame"](mfn, two)
    assert fresh["kernel.frames.frame.get_frame"](mfn, one)
    assert fresh.counts(mfn) == (2, 0, 0)
    assert one.tot_pages == 1 and one.refcount == 2


def test_the_last_reference_frees(fresh):
    one = fresh.new_domain(1)
    mfn = fresh.alloc(one)
    fresh["kernel.frames.frame.get_frame"](mfn, one)
    drop(fresh, mfn)
    assert fresh.nr_free == NR_FRAMES - 1 and one.tot_pages == 1
    assert not fresh["kernel.frames.frame.drop_allocation"](fresh.frame(mfn)), "only once"
    fresh["kernel.frames.frame.put_frame"](mfn)
    assert fresh.nr_free == NR_FRAMES and one.tot_pages == 0
    assert one.refcount == 1 and one.first_frame is None
    assert not fresh["kernel.frames.frame.get_frame"](mfn, one), "a free frame is nobody's"


@pytest.mark.parametrize("mfn", [0, FIRST - 1, FIRST + NR_FRAMES, (1 << 52) - 1])
def test_no_such_frame(fresh, mfn):
    assert not fresh["kernel.frames.frame.get_frame"](mfn, fresh.new_domain(1))


def test_nobody_sees_what_another_wrote(fresh):
    one, two = fresh.new_domain(1), fresh.new_domain(2)
    mine = [fresh.alloc(one) for _ in range(NR_FRAMES)]
    for mfn in mine:
        fresh.write(mfn, 100, SECRET)
        drop(fresh, mfn)
    fresh.flushes.clear()
    for _ in range(NR_FRAMES):
        assert fresh.text(fresh.alloc(two)) == bytes(PAGE)
    assert fresh.flushes, "translations of the old owner are flushed"


def test_nor_a_new_domain_of_the_same_number(fresh):
    one = fresh.new_domain(1)
    for mfn in [fresh.alloc(one) for _ in range(NR_FRAMES)]:
        fresh.write(mfn, 0, SECRET)
        drop(fresh, mfn)
    heir = fresh.new_domain(1)
    assert all(fresh.text(fresh.alloc(heir)) == bytes(PAGE) for _ in range(NR_FRAMES))


def test_domain_0_gets_boot_memory_as_it_is(fresh):
    fresh.write(FIRST + 5, 0, SECRET)
    dom0 = fresh.new_domain(0)
    assert fresh.alloc(dom0, 7) == FIRST
    assert fresh.text(FIRST + 5).startswith(SECRET)


def test_limits(fresh):
    one = fresh.new_domain(1, max_pages=3)
    assert fresh.alloc(one, 2) is None
    assert fresh.alloc(one, 1) is not None
    assert fresh.alloc(one) is not None
    assert fresh.alloc(one) is None, "max_pages"
    one.max_pages, one.is_dying = 100, DYING
    assert fresh.alloc(one) is None, "it is dying"
    assert fresh.nr_free == NR_FRAMES - 3


def test_claims(fresh):
    builder, other = fresh.new_domain(1), fresh.new_domain(2)
    claim = fresh["kernel.frames.claims.set_claim"]
    assert claim(builder, NR_FRAMES + 1) == -22, "more than max_pages"
    assert claim(builder, 100) == 0
    assert claim(builder, 50) == -22, "one claim at a time"
    assert claim(other, NR_FRAMES - 99) == -12
    assert fresh.alloc(other, 5) is None, "promised to the builder"
    assert fresh.alloc(builder, 6) is not None
    assert builder.outstanding_pages == 36
    assert claim(builder, 0) == 0
    assert fresh.alloc(other, 5) is not None
    assert fresh["kernel.frames.claims.nr_claimed"].value == 0


def test_what_was_given_up_is_memory_of_nobody(fresh):
    """The second frame of a free block still says what it was, and whose."""
    dom0 = fresh.new_domain(0)
    block = fresh.alloc(dom0, 1)
    take = fresh["kernel.frames.page_type.get_writable_frame"]
    assert take(block + 1, dom0)
    fresh["kernel.frames.page_type.put_frame_and_type"](block + 1)
    for mfn in (block, block + 1):
        drop(fresh, mfn)
    assert fresh.frame(block + 1).owner == 0 and fresh.nr_free == NR_FRAMES
    assert not take(block + 1, dom0)
    assert fresh.counts(block + 1) == (0, 0, 0)


def test_a_shared_core_page_goes_last(fresh):
    one = fresh.new_domain(1)
    page = fresh["kernel.frames.core_page.alloc_core_page"]()
    mfn = fresh["kernel.frames.core_page.core_page_mfn"](page)
    assert not fresh["kernel.frames.frame.get_frame"](mfn, one), "the core's own"
    fresh["kernel.frames.core_page.share_core_page"](page, one, True)
    assert one.xenheap_pages == 1 and one.tot_pages == 0
    assert fresh["kernel.frames.frame.get_frame"](mfn, one)
    fresh["kernel.frames.core_page.free_core_page"](page)
    assert fresh.nr_free == NR_FRAMES - 1, "somebody maps it"
    fresh["kernel.frames.frame.put_frame"](mfn)
    assert fresh.nr_free == NR_FRAMES and one.xenheap_pages == 0 and one.refcount == 1


def test_a_frame_in_use_cannot_be_stolen(fresh):
    one, two = fresh.new_domain(1), fresh.new_domain(2)
    mfn = fresh.alloc(one)
    steal = fresh["kernel.frames.exchange.steal_frame"]
    assert not steal(two, mfn)
    fresh["kernel.frames.frame.get_frame"](mfn, one)
    assert not steal(one, mfn)
    fresh["kernel.frames.frame.put_frame"](mfn)
    assert steal(one, mfn)
    assert not fresh["kernel.frames.frame.get_frame"](mfn, one), "between two owners"
    fresh["kernel.frames.exchange.return_stolen_frame"](one, mfn)
    assert fresh.counts(mfn) == (1, 0, 0) and one.tot_pages == 1


actions = st.lists(
    st.tuples(st.sampled_from(["alloc", "get", "put", "drop"]), st.integers(0, 999)), max_size=80
)


@settings(max_examples=60, deadline=None)
@given(actions=actions)
def test_references_add_up(machine, actions):
    """References are taken and dropped at random; a dictionary of counts is the model."""
    machine.start_over()
    one = machine.new_domain(1, max_pages=12)
    held, allocated = {}, set()
    for action, choice in actions:
        known = sorted(held)
        mfn = known[choice % len(known)] if known else None
        if action == "alloc":
            new = machine.alloc(one)
            assert (new is None) == (len(held) == 12)
            if new is not None:
                held[new] = 1
                allocated.add(new)
        elif mfn is None:
            continue
        elif action == "get":
            assert machine["kernel.frames.frame.get_frame"](mfn, one)
            held[mfn] += 1
        elif action == "put" and held[mfn] > (mfn in allocated):
            machine["kernel.frames.frame.put_frame"](mfn)
            held[mfn] -= 1
        elif action == "drop":
            assert machine["kernel.frames.frame.drop_allocation"](machine.frame(mfn)) == (
                mfn in allocated
            )
            held[mfn] -= mfn in allocated
            allocated.discard(mfn)
        held = {frame: count for frame, count in held.items() if count}
        assert {frame: machine.counts(frame)[0] for frame in held} == held
        assert one.tot_pages == len(held) and machine.nr_free == NR_FRAMES - len(held)
        assert owned(machine, one) == set(held)


def owned(machine, domain):
    """Return the frames on a domain's list, after checking its links."""
    found, mfn, previous = set(), domain.first_frame, None
    while mfn:
        assert machine.frame(mfn).previous == previous and mfn not in found
        found.add(mfn)
        mfn, previous = machine.frame(mfn).next, mfn
    return found
