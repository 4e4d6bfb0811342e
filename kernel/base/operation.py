"""Operations: what a hypercall does by a number and the address of a structure in the guest."""

from typing import TypeVar

import abi
from kpy import Array, Fn, Ptr, Tainted, i64, inline, require, u32, u64

N = TypeVar("N")

Operation = Fn[[Ptr["kernel.state.vcpu.Vcpu"], Tainted[u64]], i64]


@inline
def call_operation(
    table: Ptr[Array[Operation | None, N]],
    caller: Ptr["kernel.state.vcpu.Vcpu"],
    number: Tainted[u32],
    arg: Tainted[u64],
) -> i64:
    """Do the operation of a number. Errors: -ENOSYS, there is none; and those of the operation."""
    require(u64(number) < len(table), -abi.ENOSYS)
    operation = table[number]
    require(operation is not None, -abi.ENOSYS)
    return operation(caller, arg)
