"""domctl: the control of domains by the toolstack in domain 0. Decoding and dispatch; the
operations are in domctl_*.py.

An operation is called as `domctl_x(caller, d, op)`, with a reference held on the domain `d` that
the structure names and `op` its part of the core's own copy of the structure, which goes back to
the caller where the operation has a result. It takes those of the three that it needs.
"""

import abi
from kpy import (
    Array,
    Fn,
    Guest,
    Ptr,
    Tainted,
    build_time,
    gives_back,
    i64,
    ref,
    require,
    static,
    u8,
    u32,
    uninitialized,
)

import kernel.control.debug
import kernel.control.domains
import kernel.control.memory
import kernel.control.vcpus  # noqa: F401  these four register their operations
from kernel.base.guest_memory import copy_from_guest, copy_to_guest
from kernel.base.ids import DomId
from kernel.base.registry import domctls, domctls_with_result, hypercall
from kernel.base.spinlock import SpinLock
from kernel.control.domains import createdomain
from kernel.state.continuation import hypercall_continue
from kernel.state.domain import Domain, first_domain_from, get_domain_by_id, put_domain
from kernel.state.vcpu import Vcpu

NR_DOMCTLS = 96
FIRST_GDBSX = abi.XEN_DOMCTL_gdbsx_guestmemio  # the debugger's operations have numbers far above
NR_SLOTS = NR_DOMCTLS + 4

Operation = Fn[[Ptr[Vcpu], Ptr[Domain], Ptr[Tainted[abi.xen_domctl]]], i64]


def slot_of(cmd: Tainted[u32]) -> u32:
    """Return the place of an operation in the tables; NR_SLOTS or more: it has none."""
    if cmd < NR_DOMCTLS:
        return cmd
    if cmd < FIRST_GDBSX or cmd >= FIRST_GDBSX + NR_SLOTS - NR_DOMCTLS:
        return NR_SLOTS
    return cmd - FIRST_GDBSX + NR_DOMCTLS


@build_time
def handlers_by_slot():
    """Return the handlers of all operations, once all are registered."""
    return {slot_of(cmd): handler for cmd, handler in domctls.items()}


@build_time
def slots_with_result():
    """Return 1 for each operation whose structure is written back."""
    return {slot_of(cmd): 1 for cmd in domctls_with_result}


operations = static(Array[Operation | None, NR_SLOTS], handlers_by_slot)
has_result = static(Array[u8, NR_SLOTS], slots_with_result)

domctl_lock = static(SpinLock)


@hypercall(abi.__HYPERVISOR_domctl)
def do_domctl(vcpu: Ptr[Vcpu], from_guest: Guest[abi.xen_domctl]) -> i64:
    """Serve one domain-control operation.

    Hypercall: domctl(op: xen_domctl in the guest).
    Errors: -EFAULT, the structure; -EACCES, interface version is not 4.17's; -EPERM, the caller is
    not domain 0; -ESRCH, no such domain; -ENOSYS, no such operation; and those of the operation.
    Locks: domctl_lock, so that no two operations run at once.
    """
    op = uninitialized(Tainted[abi.xen_domctl])
    require(copy_from_guest(ref(op), from_guest), -abi.EFAULT)
    require(op.interface_version == abi.XEN_DOMCTL_INTERFACE_VERSION, -abi.EACCES)
    require(vcpu.domain.is_privileged, -abi.EPERM)
    with domctl_lock:
        result = serve_domctl(vcpu, ref(op))
    if result == -abi.ERESTART:
        return hypercall_continue(vcpu, from_guest.address(), 0, 0, 0)
    require(
        result != 0 or not writes_back(op.cmd) or copy_to_guest(from_guest, ref(op)), -abi.EFAULT
    )
    return result


def serve_domctl(vcpu: Ptr[Vcpu], op: Ptr[Tainted[abi.xen_domctl]]) -> i64:
    """Look up the domain and the operation, and run it."""
    if op.cmd == abi.XEN_DOMCTL_createdomain:
        return createdomain(op)
    with find_target(op) as domain:
        require(domain is not None, why_nobody(op))
        return run_operation(vcpu, domain, op)


def why_nobody(op: Ptr[Tainted[abi.xen_domctl]]) -> i64:
    """Return the error for an operation about no domain that there is."""
    is_question = op.cmd == abi.XEN_DOMCTL_getdomaininfo
    return -abi.EINVAL if is_question and op.domain >= abi.DOMID_FIRST_RESERVED else -abi.ESRCH


@gives_back(put_domain)
def find_target(op: Ptr[Tainted[abi.xen_domctl]]) -> Ptr[Domain] | None:
    """Return the domain an operation is about, with a reference. DOMID_SELF names none here.

    getdomaininfo is answered for the first domain whose id is not below the given one.
    """
    if op.cmd == abi.XEN_DOMCTL_getdomaininfo and op.domain < abi.DOMID_FIRST_RESERVED:
        return first_domain_from(DomId(op.domain))
    return get_domain_by_id(DomId(op.domain))


def run_operation(vcpu: Ptr[Vcpu], domain: Ptr[Domain], op: Ptr[Tainted[abi.xen_domctl]]) -> i64:
    """Call the registered operation.

    Errors: -ENOSYS, there is none.
    """
    slot = slot_of(op.cmd)
    require(slot < NR_SLOTS, -abi.ENOSYS)
    operation = operations[slot]
    require(operation is not None, -abi.ENOSYS)
    return operation(vcpu, domain, op)


def writes_back(cmd: Tainted[u32]) -> bool:
    """Say whether the caller's structure receives a result."""
    slot = slot_of(cmd)
    return cmd == abi.XEN_DOMCTL_createdomain or slot < NR_SLOTS and has_result[slot] != 0
