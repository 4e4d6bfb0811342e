"""Build-time registry of the operations on grant tables: GNTTABOP_*.

A handler serves one structure, `x(vcpu, op: Ptr[T])`, and is called for each of an array while
nothing more urgent comes; or the array, `x(vcpu, arg: Guest[T], count: u32)`, or what it needs of
these. Entries are `entry(vcpu, arg, count) -> i64`.
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
    u32,
    u64,
    uninitialized,
)

from kernel.base.guest_memory import copy_from_guest, copy_to_guest, guest_array_okay
from kernel.base.registry import (
    VCPU,
    argument_as,
    is_copied,
    is_vcpu,
    parameter_types,
    register,
    structure_of,
)
from kernel.state.continuation import hypercall_continue
from kernel.x86.preempt import preempt_pending

grant_table_ops = {}


@build_time
def grant_table_op(number, single=False):
    """Register the handler of `abi.GNTTABOP_*`.

    With `single` there is exactly one structure: -EINVAL otherwise, before all else.
    """

    def prepare(handler):
        types = parameter_types(handler)
        if not is_copied(types):
            return takes_array(handler, types)
        if single:
            return takes_one(handler, structure_of(types[1]))
        return takes_each(handler, structure_of(types[1]), number)

    return register(grant_table_ops, "grant table operation", number, prepare)


@build_time
def takes_array(handler, types):
    """Return the entry for a handler that goes through the array by itself."""
    first = 0 if is_vcpu(types[0]) else 1
    last, take = first + len(types), argument_as(types[1 - first])

    @stands_before(handler)
    def entry(vcpu: VCPU, arg: Tainted[u64], count: u32) -> i64:
        return handler(*(vcpu, take(arg), count)[first:last])

    return entry


@build_time
def takes_one(handler, struct):
    """Return the entry for a handler of the one structure that there may be."""

    @stands_before(handler)
    def entry(vcpu: VCPU, arg: Tainted[u64], count: u32) -> i64:
        require(count == 1, -abi.EINVAL)
        op = uninitialized(struct)
        require(copy_from_guest(ref(op), Guest[struct](arg)), -abi.EFAULT)
        handler(vcpu, ref(op))
        require(copy_to_guest(Guest[struct](arg), ref(op)), -abi.EFAULT)
        return 0

    return entry


@build_time
def takes_each(handler, struct, number):
    """Return the entry for a handler that is called for each structure."""

    @stands_before(handler)
    def entry(vcpu: VCPU, arg: Tainted[u64], count: u32) -> i64:
        array = Guest[struct](arg)
        require(guest_array_okay(array, u64(count)), -abi.EFAULT)
        for i in range(count):
            here = array.index(u64(i))
            if i != 0 and preempt_pending():
                return hypercall_continue(vcpu, number, here.address(), u64(count - i), 0)
            op = uninitialized(struct)
            require(copy_from_guest(ref(op), here), -abi.EFAULT)
            handler(vcpu, ref(op))
            require(copy_to_guest(here, ref(op)), -abi.EFAULT)
        return 0

    return entry
