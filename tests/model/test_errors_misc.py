"""The small hypercalls: version, console, callbacks, traps, debug registers, multicall and kin."""

import abi
import pytest

from tests.model.codes import E2BIG, EFAULT, EINVAL, ENODATA, ENODEV, ENOSYS, EPERM
from tests.model.errors import (
    BENT,
    CORE,
    UNMAPPED,
    In,
    ReadOnly,
    Wrong,
    check,
    guest,
    hypercall,
)
from tests.model.guest import BASE, make
from tests.model.prepared import EVENT_OP, PHYSDEV_OP, VCPU_OP

version = hypercall(abi.__HYPERVISOR_xen_version)
callback = hypercall(abi.__HYPERVISOR_callback_op)
nmi = hypercall(abi.__HYPERVISOR_nmi_op)
CONSOLE, DEBUGREG = abi.__HYPERVISOR_console_io, abi.__HYPERVISOR_set_debugreg
ANSWERS = (
    *(abi.XENVER_extraversion, abi.XENVER_compile_info, abi.XENVER_capabilities),
    *(abi.XENVER_changeset, abi.XENVER_platform_parameters, abi.XENVER_get_features),
    *(abi.XENVER_guest_handle, abi.XENVER_commandline),
)


def register(kind, address):
    fields = {"type": kind, "address": address}
    return callback(abi.CALLBACKOP_register, abi.callback_register, **fields)


def unregister(kind):
    return callback(abi.CALLBACKOP_unregister, abi.callback_unregister, type=kind)


def assist(command, number):
    return (abi.__HYPERVISOR_vm_assist, command, number)


def dom0(why, call, error):
    return Wrong(why, call, error, "dom0")


TABLE = [
    Wrong("no such hypercall", (63,), ENOSYS),
    Wrong("a hypercall past the table", (1 << 40,), ENOSYS),
    Wrong("version: no such command", version(99, at=0), ENOSYS),
    Wrong("version: pagesize with an argument", version(abi.XENVER_pagesize, at=BASE), EINVAL),
    Wrong("version: build id", version(abi.XENVER_build_id, at=0), EPERM),
    dom0("version: build id", version(abi.XENVER_build_id, at=0), ENODATA),
    Wrong(
        "version: no such features",
        version(abi.XENVER_get_features, abi.xen_feature_info, submap_idx=1),
        EINVAL,
    ),
    Wrong("console: not dom0", (CONSOLE, abi.CONSOLEIO_write, 1, BASE), EPERM),
    dom0("console: no such command", (CONSOLE, 9, 1, BASE), ENOSYS),
    dom0("console: too long", (CONSOLE, abi.CONSOLEIO_write, 1 << 31, BASE), E2BIG),
    dom0("console: unmapped", (CONSOLE, abi.CONSOLEIO_write, 1, UNMAPPED), EFAULT),
    Wrong("callback: no such command", callback(9, at=BASE), ENOSYS),
    Wrong("callback: unmapped", callback(abi.CALLBACKOP_register, at=UNMAPPED), EFAULT),
    Wrong("callback: unmapped", callback(abi.CALLBACKOP_unregister, at=UNMAPPED), EFAULT),
    Wrong("callback: not canonical", register(abi.CALLBACKTYPE_event, BENT), EINVAL),
    Wrong("callback: no such type", register(99, BASE), ENOSYS),
    Wrong("callback: event, for good", unregister(abi.CALLBACKTYPE_event), EINVAL),
    Wrong("callback: no such type", unregister(99), ENOSYS),
    Wrong("nmi: no such command", nmi(9, at=BASE), ENOSYS),
    Wrong("nmi: unmapped", nmi(abi.XENNMI_register_callback, at=UNMAPPED), EFAULT),
    Wrong(
        "nmi: not canonical",
        nmi(abi.XENNMI_register_callback, abi.xennmi_callback, handler_address=BENT),
        EINVAL,
    ),
    Wrong("traps: unmapped", (abi.__HYPERVISOR_set_trap_table, UNMAPPED), EFAULT),
    Wrong("traps: in the core", (abi.__HYPERVISOR_set_trap_table, CORE), EFAULT),
    Wrong(
        "traps: not canonical",
        (abi.__HYPERVISOR_set_trap_table, In(abi.trap_info, {"address": BENT})),
        EINVAL,
    ),
    Wrong("debugreg: no such", (abi.__HYPERVISOR_get_debugreg, 8), ENODEV),
    Wrong("debugreg: no such", (DEBUGREG, 8, 0), ENODEV),
    Wrong("debugreg: a breakpoint in the core", (DEBUGREG, 0, CORE), EPERM),
    Wrong("debugreg: a breakpoint nowhere", (DEBUGREG, 3, BENT), EPERM),
    Wrong("debugreg: upper bits of dr6", (DEBUGREG, 6, 1 << 32), EINVAL),
    Wrong("debugreg: upper bits of dr7", (DEBUGREG, 7, 1 << 32), EINVAL),
    Wrong("debugreg: an I/O breakpoint", (DEBUGREG, 7, 2 << 16 | 2), EPERM),
    Wrong("debugreg: an I/O breakpoint, the last", (DEBUGREG, 5, 2 << 28 | 2), EPERM),
    Wrong("assist: no such", assist(abi.VMASST_CMD_enable, 9), EINVAL),
    Wrong("assist: past 63", assist(abi.VMASST_CMD_enable, 64), EINVAL),
    Wrong("assist: no such command", assist(9, abi.VMASST_TYPE_writable_pagetables), ENOSYS),
    Wrong("multicall: unmapped", (abi.__HYPERVISOR_multicall, UNMAPPED, 1), EFAULT),
    Wrong("multicall: in the core", (abi.__HYPERVISOR_multicall, CORE, 1), EFAULT),
    Wrong(
        "multicall: a list that is read-only",
        (abi.__HYPERVISOR_multicall, ReadOnly(abi.multicall_entry, {"op": 60}), 1),
        EFAULT,
        leaves_trace=True,
    ),
]
TABLE += [
    Wrong(f"version {command}: unmapped", version(command, at=UNMAPPED), EFAULT)
    for command in ANSWERS
]


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_refused(machine, row):
    check(machine, row)


@pytest.mark.parametrize("number", [abi.__HYPERVISOR_multicall, abi.__HYPERVISOR_iret])
def test_a_multicall_refuses_what_would_nest(machine, number):
    """The entry says so, the list goes on."""
    entries = guest(machine).put(
        bytes(make(abi.multicall_entry, op=number))
        + bytes(make(abi.multicall_entry, op=abi.__HYPERVISOR_xen_version))
    )
    assert guest(machine).call(abi.__HYPERVISOR_multicall, entries, 2) == 0
    first = guest(machine).get(abi.multicall_entry, entries)
    second = guest(machine).get(abi.multicall_entry, entries + abi.multicall_entry.size)
    assert (first.result, second.result) == ((1 << 64) + EINVAL, 4 << 16 | 17)


@pytest.mark.parametrize("number", [VCPU_OP, EVENT_OP, PHYSDEV_OP, abi.__HYPERVISOR_memory_op])
def test_every_command_is_served_or_refused(machine, number):
    """Also those in the middle of the table that nobody serves."""
    for command in set(range(64)) - {abi.VCPUOP_down if number == VCPU_OP else None}:
        arguments = (command, 0, UNMAPPED) if number == VCPU_OP else (command, UNMAPPED)
        assert -4096 < guest(machine).call(number, *arguments) < 1 << 40
