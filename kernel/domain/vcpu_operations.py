"""Build-time registry of the operations on a vCPU: VCPUOP_*.

A handler takes the vCPU, with the calling one before it if it asks who calls, and the structure as
other operations do (kernel/base/registry.py). Entries are `entry(caller, v, arg) -> i64`.
"""

import abi
from kpy import (
    Guest,
    Tainted,
    build_time,
    i64,
    ref,
    require,
    stands_before,
    u64,
    uninitialized,
)

from kernel.base.guest_memory import copy_from_guest
from kernel.base.registry import (
    VCPU,
    argument_as,
    is_copied,
    is_vcpu,
    parameter_types,
    register,
    structure_of,
)

vcpu_ops = {}


@build_time
def vcpu_op(number):
    """Register the handler of `abi.VCPUOP_*`."""
    return register(vcpu_ops, "vCPU operation", number, entry_of)


@build_time
def entry_of(handler):
    """Return the entry of the table for a handler."""
    types = parameter_types(handler)
    first = 2 - sum(map(is_vcpu, types))
    if is_copied(types):
        return takes_copy(handler, first, structure_of(types[-1]))
    return takes_argument(handler, first, types)


@build_time
def takes_argument(handler, first, types):
    """Return the entry for a handler that takes the argument as it is, or none."""
    last = 2 if is_vcpu(types[-1]) else 3
    take = argument_as(types[-1]) if last == 3 else None

    @stands_before(handler)
    def entry(caller: VCPU, v: VCPU, arg: Tainted[u64]) -> i64:
        return handler(*(caller, v, take(arg))[first:last])

    return entry


@build_time
def takes_copy(handler, first, struct):
    """Return the entry for a handler that takes a copy of the guest's structure."""

    @stands_before(handler)
    def entry(caller: VCPU, v: VCPU, arg: Tainted[u64]) -> i64:
        op = uninitialized(struct)
        require(copy_from_guest(ref(op), Guest[struct](arg)), -abi.EFAULT)
        return handler(*(caller, v, ref(op))[first:])

    return entry
