"""Names of hypercalls, their operations, exceptions and errors, from the generated ABI."""

import errno

from xentrace.abi_codecs import abi

HYPERCALL = "__HYPERVISOR_"
# Hypercalls whose first argument is an operation, and how their constants begin.
OPERATIONS = {
    "sched_op": "SCHEDOP_",
    "event_channel_op": "EVTCHNOP_",
    "grant_table_op": "GNTTABOP_",
    "memory_op": "XENMEM_",
    "vcpu_op": "VCPUOP_",
    "physdev_op": "PHYSDEVOP_",
    "xen_version": "XENVER_",
    "console_io": "CONSOLEIO_",
    "callback_op": "CALLBACKOP_",
    "nmi_op": "XENNMI_",
    "vm_assist": "VMASST_CMD_",
    "set_segment_base": "SEGBASE_",
}
# What of the first argument is the operation; a memory_op that goes on has an extent's number, too
OPERATION_MASKS = {"memory_op": 0x3F}
NAMED_EXCEPTIONS = {
    0: "#DE", 1: "#DB", 2: "NMI", 3: "#BP", 4: "#OF", 5: "#BR", 6: "#UD", 7: "#NM", 8: "#DF",
    10: "#TS", 11: "#NP", 12: "#SS", 13: "#GP", 14: "#PF", 16: "#MF", 17: "#AC", 18: "#MC",
    19: "#XM", 20: "#VE", 21: "#CP",
}  # fmt: skip
RUNSTATES = ("running", "runnable", "blocked", "offline")
PAGE_TYPES = ("none", "l1", "l2", "l3", "l4", "seg_desc", "6", "writable")


def constants(prefix):
    """Return {value: rest of the name} of constants; of several names the first."""
    found = {}
    for name, value in vars(abi).items():
        if name.startswith(prefix) and isinstance(value, int):
            found.setdefault(value, name[len(prefix) :])
    return found


HYPERCALLS = constants(HYPERCALL)
SUB_OPERATIONS = {name: constants(prefix) for name, prefix in OPERATIONS.items()}


def hypercall_name(number, first_argument=None):
    """Return a hypercall's name, with its operation's where it has one: "sched_op.block"."""
    name = HYPERCALLS.get(number, f"hypercall_{number}")
    operations = SUB_OPERATIONS.get(name)
    if operations is None or first_argument is None:
        return name
    operation = first_argument & OPERATION_MASKS.get(name, 0xFFFFFFFF)
    return f"{name}.{operations.get(operation, operation)}"


def result_text(value):
    """Return a result as people read it: an error's name, a small number, else hexadecimal."""
    signed = value - (1 << 64) if value >> 63 else value
    if -4096 < signed < 0:
        return "-ERESTART" if signed == -85 else "-" + errno.errorcode.get(-signed, str(-signed))
    return str(signed) if signed < 4096 else hex(value)


def exception_name(vector):
    """Return the name of an exception."""
    return NAMED_EXCEPTIONS.get(vector, f"int {vector:#x}")
