"""memory_op: a domain's memory as a whole. Decoding of the command and dispatch; the operations are
in memory_*.py.

The low 6 bits of the command say which operation; the rest is the extent at which one that stopped
half way goes on.
"""

import abi
from kpy import Array, Fn, Ptr, Tainted, i64, require, static, u64

import kernel.memory.exchange
import kernel.memory.map
import kernel.memory.query
import kernel.memory.reservation
import kernel.memory.resource  # noqa: F401  these register their operations
from kernel.base.registry import hypercall
from kernel.memory.operations import MEMOP_EXTENT_SHIFT, memory_ops
from kernel.state.vcpu import Vcpu

NR_MEMORY_OPS = 1 << MEMOP_EXTENT_SHIFT

MemoryOperation = Fn[[Ptr[Vcpu], Tainted[u64], Tainted[u64]], i64]
operations = static(Array[MemoryOperation | None, NR_MEMORY_OPS], memory_ops)


@hypercall(abi.__HYPERVISOR_memory_op)
def do_memory_op(v: Ptr[Vcpu], command: Tainted[u64], arg: Tainted[u64]) -> i64:
    """Serve one memory operation.

    Hypercall: memory_op(command: XENMEM_* | extent to go on at << 6, arg: its structure in the
    guest).
    Source: Xen public ABI, memory.h.
    Errors: -ENOSYS, no such operation; and those of the operation.
    """
    operation = operations[command & (NR_MEMORY_OPS - 1)]
    require(operation is not None, -abi.ENOSYS)
    return operation(v, command >> MEMOP_EXTENT_SHIFT, arg)
