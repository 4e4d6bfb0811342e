"""Dispatch: from a hypercall's number to its handler.

Every handler has one shape, `do_x(vcpu, a, b, c, d, e) -> i64`: the calling vCPU and the five
argument registers as the guest passed them. kernel/handlers.py imports all of them, which fills
the table.
"""

import abi
from kpy import Array, Fn, Ptr, i64, inline, static, u64

from kernel.base.registry import hypercalls
from kernel.state.vcpu import Vcpu

NR_HYPERCALLS = 64

Handler = Fn[[Ptr[Vcpu], u64, u64, u64, u64, u64], i64]
hypercall_table = static(Array[Handler | None, NR_HYPERCALLS], hypercalls)


@inline
def call_handler(vcpu: Ptr[Vcpu], number: u64, a: u64, b: u64, c: u64, d: u64, e: u64) -> i64:
    """Call the handler of a hypercall with raw arguments.

    Returns: its result. Errors: -ENOSYS, nobody handles that number.
    """
    if number >= NR_HYPERCALLS:
        return -abi.ENOSYS
    handler = hypercall_table[number]
    if handler is None:
        return -abi.ENOSYS
    return handler(vcpu, a, b, c, d, e)
