"""What the registries demand of handlers at build time."""

import abi
import pytest
from kpy import Guest, Ptr, Tainted, i64, u8, u32

from kernel.base import registry
from kernel.state.vcpu import Vcpu


def with_number(vcpu: Ptr[u8], count: u32) -> i64:
    return 0


def with_tainted_number(vcpu: Ptr[u8], count: Tainted[u32], to: Guest[u8]) -> i64:
    return 0


def test_a_handlers_numbers_must_be_tainted():
    with pytest.raises(TypeError, match=r"Tainted\[u32\]"):
        registry.takes_registers(with_number)
    assert callable(registry.takes_registers(with_tainted_number))


def with_structure(vcpu: Ptr[Vcpu], op: Ptr[abi.evtchn_send]) -> i64:
    return 0


def with_tainted_structure(vcpu: Ptr[Vcpu], op: Ptr[Tainted[abi.evtchn_send]]) -> i64:
    return 0


def test_a_handlers_structure_must_be_tainted():
    with pytest.raises(TypeError, match=r"Tainted\[evtchn_send\]"):
        registry.entry_of(with_structure, False)
    assert callable(registry.entry_of(with_tainted_structure, False))


def test_a_number_has_one_handler():
    table = {}
    registry.register(table, "thing", 3)(with_number)
    with pytest.raises(ValueError, match="thing 3 has two handlers"):
        registry.register(table, "thing", 3)(with_tainted_number)
    assert table == {3: with_number}
