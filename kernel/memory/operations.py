"""Build-time registry of memory operations: XENMEM_*.

A handler takes the calling vCPU, the structure in the guest and the extent to go on at, or those of
them that it needs, which stand beside each other; the structure as other operations do
(kernel/base/registry.py). Entries are `entry(v, start, arg) -> i64`.
"""

import abi
from kpy import (
    Guest,
    Tainted,
    build_time,
    i64,
    ok,
    ref,
    require,
    stands_before,
    u64,
    uninitialized,
)

from kernel.base.guest_memory import copy_from_guest, copy_to_guest
from kernel.base.registry import (
    VCPU,
    argument_as,
    is_copied,
    is_vcpu,
    parameter_types,
    register,
    structure_of,
)

MEMOP_EXTENT_SHIFT = 6  # of the extent to go on at, in the hypercall's command
MAX_EXTENTS = (1 << 32 - MEMOP_EXTENT_SHIFT) - 1

memory_ops = {}


@build_time
def memory_op(number, result=False, whole=False):
    """Register the handler of `abi.XENMEM_*`.

    With `result` the structure goes back to the guest after a success. With `whole` an extent in
    the command is refused before all else: -EINVAL.
    """
    return register(
        memory_ops, "memory operation", number, lambda handler: entry_of(handler, result, whole)
    )


@build_time
def entry_of(handler, result, whole):
    """Return the entry of the table for a handler."""
    types = parameter_types(handler)
    first = 0 if types and is_vcpu(types[0]) else 1
    last = first + len(types)
    structure = types[1 - first : 2 - first]
    if is_copied(structure):
        return takes_copy(handler, structure_of(structure[0]), slice(first, last), result, whole)
    take = argument_as(structure[0]) if structure else None

    @stands_before(handler)
    def entry(v: VCPU, start: Tainted[u64], arg: Tainted[u64]) -> i64:
        if whole:
            require(start == 0, -abi.EINVAL)
        return handler(*(v, take(arg), start)[first:last])

    return entry


@build_time
def takes_copy(handler, struct, taken, result, whole):
    """Return the entry for a handler that takes a copy of the guest's structure."""
    first, last = taken.start, taken.stop

    @stands_before(handler)
    def entry(v: VCPU, start: Tainted[u64], arg: Tainted[u64]) -> i64:
        if whole:
            require(start == 0, -abi.EINVAL)
        op = uninitialized(struct)
        require(copy_from_guest(ref(op), Guest[struct](arg)), -abi.EFAULT)
        if result:
            ok(handler(*(v, ref(op), start)[first:last]))
            require(copy_to_guest(Guest[struct](arg), ref(op)), -abi.EFAULT)
            return 0
        else:
            return handler(*(v, ref(op), start)[first:last])

    return entry
