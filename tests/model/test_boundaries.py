"""No word of any hypercall makes the core panic: each is replaced by each boundary, one at a time,
by guests that have offered each other pages and ports, and by domain 0.
"""

from itertools import chain

import abi
import pytest
from kpy.jit import KpyPanic

from tests.fuzz.world import map_offers, offer, settle_in
from tests.model.boundaries import (
    ARGUMENTS,
    NUMBERS,
    Way,
    calls_with_a_boundary,
    calls_with_two_flags,
    plain_calls,
)
from tests.model.guest import Stopped

RIGHTS_OF_DOM0 = ("the machine is switched off", "the machine restarts")
SUCCEEDING = 100  # operations, at least


@pytest.fixture(scope="module")
def furnished(whole_machine):
    """The machine whose domains have made themselves at home, and the way back to that."""
    machine = whole_machine
    machine.start_over()
    everybody = [machine.dom0, *machine.guests]
    for guest in everybody:
        settle_in(guest)
    for guest in everybody:
        offer(everybody, guest)
    for guest in everybody:
        map_offers(everybody, guest)
    return machine, machine.take_snapshot()


def serve(furnished, caller, number, call):
    """Make a call on a fresh machine. Returns: its result; None if its caller was stopped."""
    machine, beginning = furnished
    beginning.restore()
    if call.data:
        caller.write(ARGUMENTS, call.data)
    try:
        return caller.call(number, *call.args)
    except Stopped:
        return None
    except KpyPanic as panic:
        if caller is machine.dom0 and panic.text in RIGHTS_OF_DOM0:
            return None
        raise AssertionError(f"d{caller.id}: {call}: {panic}") from None


def ways_of(caller, other, name):
    """In which ways a domain makes a hypercall: about itself, and about another."""
    is_control = name in ("domctl", "sysctl", "platform_op")
    myself = other.id if is_control and caller.id == 0 else abi.DOMID_SELF
    return [Way(myself, 0), Way(other.id, 1)]


def sweep(furnished, caller, other, name):
    """Make every call of a hypercall with a boundary; return how many."""
    count, number = 0, NUMBERS[name]
    ways = ways_of(caller, other, name)
    made = [calls_with_a_boundary(caller, number, way) for way in ways]
    for call in chain(*made, calls_with_two_flags(caller, number, ways[0])):
        serve(furnished, caller, number, call)
        count += 1
    return count


@pytest.mark.parametrize("name", NUMBERS)
def test_a_guest_cannot_make_the_core_panic(furnished, name):
    machine, _ = furnished
    assert sweep(furnished, machine.guests[1], machine.guests[0], name) > 0


@pytest.mark.parametrize("name", NUMBERS)
def test_domain_0_cannot_make_the_core_panic(furnished, name):
    machine, _ = furnished
    assert sweep(furnished, machine.dom0, machine.guests[1], name) > 0


def test_the_calls_are_right_but_for_the_boundary(furnished):
    """Else each would end at its first check."""
    machine, _ = furnished
    guest, other = machine.guests[1], machine.guests[0]
    done = set()
    for caller in (guest, machine.dom0):
        for name, number in NUMBERS.items():
            for way in ways_of(caller, other, name):
                for call, _ in plain_calls(caller, number, way):
                    result = serve(furnished, caller, number, call)
                    if result is None or result >= 0:
                        done.add((name, call.operation))
    assert len(done) >= SUCCEEDING
