"""Continuations: how a long hypercall stops half way and is made again by the guest's `syscall`.

Progress lives in the arguments, as in Xen: a handler that has done part of its work changes them so
that the same call does the rest. The guest never sees -ERESTART: dispatch
(kernel/entry/hypercall.py, kernel/entry/multicall.py) turns it into a second call.
"""

import abi
from kpy import Ptr, i64, u64

from kernel.state.vcpu import Vcpu


def hypercall_continue(vcpu: Ptr[Vcpu], a: u64, b: u64, c: u64, d: u64) -> i64:
    """Store the first four arguments with which the present hypercall shall run again.

    Returns: -ERESTART, for the handler to return.
    """
    vcpu.continuation[0] = a
    vcpu.continuation[1] = b
    vcpu.continuation[2] = c
    vcpu.continuation[3] = d
    return -abi.ERESTART
