"""nmi_op: a guest kernel's handler of non-maskable interrupts. Only vCPU 0 of dom0 gets those of
the machine.
"""

import abi
from kpy import Guest, Ptr, Tainted, cold, i64, ref, require, u32, u64, uninitialized

from kernel.base.guest_memory import copy_from_guest
from kernel.base.registry import hypercall
from kernel.sched.wake import vcpu_kick
from kernel.state.vcpu import Vcpu
from kernel.x86.canonical import is_canonical
from kernel.x86.vectors import TRAP_nmi


@hypercall(abi.__HYPERVISOR_nmi_op)
def do_nmi_op(vcpu: Ptr[Vcpu], command: Tainted[u32], arg: Guest[abi.xennmi_callback]) -> i64:
    """Set or drop the NMI handler.

    Hypercall: nmi_op(command, arg: xennmi_callback). Errors: -EFAULT; -ENOSYS; -EINVAL, not
    canonical, or not vCPU 0.
    """
    match command:
        case abi.XENNMI_register_callback:
            callback = uninitialized(Tainted[abi.xennmi_callback])
            require(copy_from_guest(ref(callback), arg), -abi.EFAULT)
            return register_nmi_callback(vcpu, callback.handler_address)
        case abi.XENNMI_unregister_callback:
            return unregister_nmi_callback(vcpu)
        case _:
            return -abi.ENOSYS


def register_nmi_callback(vcpu: Ptr[Vcpu], address: Tainted[u64]) -> i64:
    """Enter the handler in the trap table, where the bounce finds it."""
    require(is_canonical(address) and vcpu.vcpu_id == 0, -abi.EINVAL)
    handler = ref(vcpu.trap_table[TRAP_nmi])
    handler.vector = TRAP_nmi
    handler.flags = 0
    handler.cs = abi.FLAT_KERNEL_CS
    handler.address = address
    return 0


def unregister_nmi_callback(vcpu: Ptr[Vcpu]) -> i64:
    """Forget the handler: NMIs of this vCPU are lost from now on."""
    vcpu.trap_table[TRAP_nmi].address = 0
    return 0


@cold
def send_guest_nmi(vcpu: Ptr[Vcpu]) -> None:
    """Make an NMI pending for a vCPU: it is delivered before the next guest instruction."""
    vcpu.nmi_pending = True
    vcpu_kick(vcpu)
