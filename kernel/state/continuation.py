"""Continuations: how a long hypercall stops half way and is made again by the guest's `syscall`.

Progress lives in the arguments, as in Xen: a handler that has done part of its work changes them so
that the same call does the rest. Dispatch (kernel/entry/hypercall.py,
kernel/entry/multicall.py) turns -ERESTART into a second call if there are arguments for one;
otherwise it is a number like any other, which a guest may have chosen itself, such as what iret
puts into rax.
"""

import abi
from kpy import (
    Ptr,
    Tainted,
    i64,
    inline,
    require,
    u64,
)

from kernel.state.vcpu import Vcpu


def hypercall_continue(
    vcpu: Ptr[Vcpu],
    arg0: Tainted[u64],
    arg1: Tainted[u64],
    arg2: Tainted[u64],
    arg3: Tainted[u64],
) -> i64:
    """Store the first four arguments with which the present hypercall shall run again.

    Returns: -ERESTART, for the handler to return.
    """
    vcpu.continuation[0] = arg0
    vcpu.continuation[1] = arg1
    vcpu.continuation[2] = arg2
    vcpu.continuation[3] = arg3
    vcpu.is_continued = True
    return -abi.ERESTART


@inline
def take_continuation(vcpu: Ptr[Vcpu], result: i64) -> bool:
    """Say whether a handler that returned `result` shall run again, with the arguments stored."""
    require(result == -abi.ERESTART and vcpu.is_continued, False)
    vcpu.is_continued = False
    return True
