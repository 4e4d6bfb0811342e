"""vm_assist: what a guest wants the core to do for it beyond the plain ABI.

| assist                | effect here                                                            |
|-----------------------|------------------------------------------------------------------------|
| 4gb_segments(_notify) | none: for 32-bit guests                                                |
| writable_pagetables   | direct writes to L1 tables are emulated (kernel/emulate/ptwr.py)        |
| pae_extended_cr3      | none: for 32-bit guests                                                |
| architectural_iopl    | bounce frames show the virtual IOPL, iret sets it (kernel/entry/iret.py) |
| runstate_update_flag  | XEN_RUNSTATE_UPDATE marks an area in change (kernel/sched/runstate.py) |
| m2p_strict            | user L4s don't show the M2P table (kernel/paging/l4_slots.py)          |
"""

import abi
from kpy import Ptr, Tainted, atomic_and, atomic_or, bit, i64, ref, require, u32, u64

from kernel.base.registry import hypercall
from kernel.state.vcpu import Vcpu

KNOWN_ASSISTS = sum(
    1 << number
    for number in (
        abi.VMASST_TYPE_4gb_segments,
        abi.VMASST_TYPE_4gb_segments_notify,
        abi.VMASST_TYPE_writable_pagetables,
        abi.VMASST_TYPE_pae_extended_cr3,
        abi.VMASST_TYPE_architectural_iopl,
        abi.VMASST_TYPE_runstate_update_flag,
        abi.VMASST_TYPE_m2p_strict,
    )
)


@hypercall(abi.__HYPERVISOR_vm_assist)
def do_vm_assist(v: Ptr[Vcpu], command: Tainted[u32], assist: Tainted[u32]) -> i64:
    """Switch an assist on or off.

    Hypercall: vm_assist(command: VMASST_CMD_*, assist: VMASST_TYPE_*).
    Errors: -EINVAL, no such assist; -ENOSYS, no such command.
    """
    require(assist < 64 and KNOWN_ASSISTS & bit(u64(assist)) != 0, -abi.EINVAL)
    match command:
        case abi.VMASST_CMD_enable:
            atomic_or(ref(v.domain.vm_assist), bit(u64(assist)))
        case abi.VMASST_CMD_disable:
            atomic_and(ref(v.domain.vm_assist), ~bit(u64(assist)))
        case _:
            return -abi.ENOSYS
    return 0
