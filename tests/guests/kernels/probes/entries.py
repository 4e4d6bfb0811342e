"""How a guest kernel names its entry points, and its debug and segment registers."""

import abi
from kpy import Array, i64, ref, static, truncate, u16, u64

from libos.hypercall import hypercall, set_callbacks, set_trap_table
from libos.trap import init_traps
from tests.guests.kernels.probes.ground import CORE_ADDRESS, NO_COMMAND, NONCANONICAL, WILD_ADDRESS
from tests.guests.kernels.probes.transcript import fact_each, tell, tell_each

NR_KINDS = 9
HANDLER = 0xFFFF_8880_0010_0000
LAST_USER_ADDRESS = 0x0000_7FFF_FFFF_F000

registration = static(abi.callback_register)
removal = static(abi.callback_unregister)
traps = static(Array[abi.trap_info, 4])
nmi = static(abi.xennmi_callback)


def register(kind: u64, flags: u16, address: u64) -> i64:
    registration.type = truncate(u16, kind)
    registration.flags = flags
    registration.address = address
    return hypercall(
        abi.__HYPERVISOR_callback_op, abi.CALLBACKOP_register, u64(ref(registration)), 0, 0, 0
    )


def unregister(kind: u64) -> i64:
    removal.type = truncate(u16, kind)
    return hypercall(
        abi.__HYPERVISOR_callback_op, abi.CALLBACKOP_unregister, u64(ref(removal)), 0, 0, 0
    )


def ask_callbacks() -> None:
    """Types 0 (events) and 1 (failsafe) keep what they are."""
    for kind in range(2, NR_KINDS):
        result = register(u64(kind), 0, HANDLER)
        tell_each(b"CALLBACKOP_register type", u64(kind), result)
        result = register(u64(kind), abi.CALLBACKF_mask_events, HANDLER)
        tell_each(b"CALLBACKOP_register masking, type", u64(kind), result)
        result = register(u64(kind), 0, 0)
        tell_each(b"CALLBACKOP_register null, type", u64(kind), result)
    for kind in range(NR_KINDS):
        result = register(u64(kind), 0, NONCANONICAL)
        tell_each(b"CALLBACKOP_register not canonical, type", u64(kind), result)
        tell_each(b"CALLBACKOP_unregister type", u64(kind), unregister(u64(kind)))
    tell(b"CALLBACKOP_register in the core", register(abi.CALLBACKTYPE_syscall, 0, CORE_ADDRESS))
    tell(b"CALLBACKOP_register unknown flag", register(abi.CALLBACKTYPE_syscall, 0x80, HANDLER))
    operation = u64(abi.__HYPERVISOR_callback_op)
    result = hypercall(operation, abi.CALLBACKOP_register, WILD_ADDRESS, 0, 0, 0)
    tell(b"CALLBACKOP_register unmapped", result)
    result = hypercall(operation, abi.CALLBACKOP_unregister, WILD_ADDRESS, 0, 0, 0)
    tell(b"CALLBACKOP_unregister unmapped", result)
    tell(b"set_callbacks event not canonical", set_callbacks(NONCANONICAL, HANDLER))
    ask_nmi()
    ask_trap_table()


def ask_nmi() -> None:
    operation, here = u64(abi.__HYPERVISOR_nmi_op), u64(ref(nmi))
    nmi.handler_address = HANDLER
    result = hypercall(operation, abi.XENNMI_register_callback, here, 0, 0, 0)
    tell(b"XENNMI_register_callback", result)
    nmi.handler_address = NONCANONICAL
    result = hypercall(operation, abi.XENNMI_register_callback, here, 0, 0, 0)
    tell(b"XENNMI_register_callback not canonical", result)
    result = hypercall(operation, abi.XENNMI_register_callback, WILD_ADDRESS, 0, 0, 0)
    tell(b"XENNMI_register_callback unmapped", result)
    result = hypercall(operation, abi.XENNMI_unregister_callback, 0, 0, 0, 0)
    tell(b"XENNMI_unregister_callback", result)
    result = hypercall(operation, abi.XENNMI_unregister_callback, 0, 0, 0, 0)
    tell(b"XENNMI_unregister_callback again", result)
    tell(b"XENNMI no such command", hypercall(operation, NO_COMMAND, here, 0, 0, 0))


def ask_trap_table() -> None:
    traps[0] = abi.trap_info(vector=0x70, cs=abi.FLAT_KERNEL_CS, address=HANDLER)
    traps[1] = abi.trap_info(vector=0x71, cs=abi.FLAT_KERNEL_CS, address=NONCANONICAL)
    tell(b"set_trap_table second not canonical", set_trap_table(u64(ref(traps))))
    traps[1].address = CORE_ADDRESS
    tell(b"set_trap_table second in the core", set_trap_table(u64(ref(traps))))
    traps[1] = abi.trap_info(vector=0x71, cs=0, address=HANDLER)
    tell(b"set_trap_table null selector", set_trap_table(u64(ref(traps))))
    traps[1] = abi.trap_info(vector=0x71, flags=0xFF, cs=0xE008, address=HANDLER)
    tell(b"set_trap_table selector of ring 0, all flags", set_trap_table(u64(ref(traps))))
    tell(b"set_trap_table the core's", set_trap_table(CORE_ADDRESS))
    traps[0].address = 0
    tell(b"set_trap_table empty", set_trap_table(u64(ref(traps))))
    tell(b"set_trap_table null", set_trap_table(0))
    init_traps()


def set_register(number: u64, value: u64) -> i64:
    return hypercall(abi.__HYPERVISOR_set_debugreg, number, value, 0, 0, 0)


def get_register(number: u64) -> i64:
    return hypercall(abi.__HYPERVISOR_get_debugreg, number, 0, 0, 0, 0)


def ask_debug_registers() -> None:
    for number in range(9):
        fact_each(b"get_debugreg at first", u64(number), truncate(u64, get_register(u64(number))))
    for number in range(9):
        result = set_register(u64(number), LAST_USER_ADDRESS)
        tell_each(b"set_debugreg an address", u64(number), result)
        fact_each(b"get_debugreg an address", u64(number), truncate(u64, get_register(u64(number))))
        result = set_register(u64(number), CORE_ADDRESS)
        tell_each(b"set_debugreg the core", u64(number), result)
        result = set_register(u64(number), NONCANONICAL)
        tell_each(b"set_debugreg not canonical", u64(number), result)
        result = set_register(u64(number), 0xFFFF_FFFF)
        tell_each(b"set_debugreg ones", u64(number), result)
        fact_each(b"get_debugreg ones", u64(number), truncate(u64, get_register(u64(number))))
        result = set_register(u64(number), 0)
        tell_each(b"set_debugreg zero", u64(number), result)
        fact_each(b"get_debugreg zero", u64(number), truncate(u64, get_register(u64(number))))
    for shift in range(32):
        result = set_register(7, 1 << u64(shift))
        tell_each(b"set_debugreg control bit", u64(shift), result)
        fact_each(b"get_debugreg control bit", u64(shift), truncate(u64, get_register(7)))
    tell(b"set_debugreg control off", set_register(7, 0))
    tell(b"set_debugreg number above 32 bits", set_register(1 << 32, 0))


def ask_segment_bases() -> None:
    base = u64(abi.__HYPERVISOR_set_segment_base)
    for which in range(5):
        tell_each(b"set_segment_base", u64(which), hypercall(base, u64(which), 0, 0, 0, 0))
        result = hypercall(base, u64(which), NONCANONICAL, 0, 0, 0)
        tell_each(b"set_segment_base not canonical", u64(which), result)
        result = hypercall(base, u64(which), CORE_ADDRESS, 0, 0, 0)
        tell_each(b"set_segment_base the core", u64(which), result)
    tell(
        b"set_segment_base bad selector", hypercall(base, abi.SEGBASE_GS_USER_SEL, 0x1003, 0, 0, 0)
    )
    for which in range(4):
        hypercall(base, u64(which), 0, 0, 0, 0)
    switch = u64(abi.__HYPERVISOR_stack_switch)
    tell(b"stack_switch", hypercall(switch, abi.FLAT_KERNEL_SS, HANDLER, 0, 0, 0))
    tell(b"stack_switch null selector", hypercall(switch, 0, HANDLER, 0, 0, 0))
    tell(
        b"stack_switch not canonical", hypercall(switch, abi.FLAT_KERNEL_SS, NONCANONICAL, 0, 0, 0)
    )
    tell(b"fpu_taskswitch on", hypercall(abi.__HYPERVISOR_fpu_taskswitch, 1, 0, 0, 0, 0))
    tell(b"fpu_taskswitch off", hypercall(abi.__HYPERVISOR_fpu_taskswitch, 0, 0, 0, 0, 0))
