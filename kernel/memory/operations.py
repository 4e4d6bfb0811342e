"""Build-time registry of memory operations, as kernel/base/registry.py is of hypercalls.

An operation is `op(v, start, arg) -> i64`: the calling vCPU, the extent to begin at, and the
address of its structure in the guest.
"""

from kpy import build_time

from kernel.base.registry import register

MEMOP_EXTENT_SHIFT = 6  # of the extent to go on at, in the hypercall's command
MAX_EXTENTS = (1 << 32 - MEMOP_EXTENT_SHIFT) - 1

memory_ops = {}


@build_time
def memory_op(number):
    """Register the handler of `abi.XENMEM_*`."""
    return register(memory_ops, "memory operation", number)
