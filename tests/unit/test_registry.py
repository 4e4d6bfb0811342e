"""What the registries demand of handlers at build time."""

import pytest
from kpy import Guest, Ptr, Tainted, i64, u8, u32

from kernel.base import registry


def with_number(vcpu: Ptr[u8], count: u32) -> i64:
    return 0


def with_tainted_number(vcpu: Ptr[u8], count: Tainted[u32], to: Guest[u8]) -> i64:
    return 0


def test_a_handlers_numbers_must_be_tainted():
    with pytest.raises(TypeError, match=r"Tainted\[u32\]"):
        registry.takes_registers(with_number)
    assert callable(registry.takes_registers(with_tainted_number))


def test_a_number_has_one_handler():
    table = {}
    registry.register(table, "thing", 3)(with_number)
    with pytest.raises(ValueError, match="thing 3 has two handlers"):
        registry.register(table, "thing", 3)(with_tainted_number)
    assert table == {3: with_number}
