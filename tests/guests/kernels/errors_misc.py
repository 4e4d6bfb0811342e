"""The small hypercalls with bad arguments: numbers out of range, traps, segments, callbacks,
multicall, version.
"""

import abi
from kpy import Array, i64, ref, static, truncate, u8, u64

from libos.hypercall import hypercall
from tests.guests.kernels.bad import HYPERVISOR, NON_CANONICAL, UNMAPPED
from tests.guests.kernels.report import check, expect

calls = static(Array[abi.multicall_entry, 3])
text = static(Array[u8, 1024])


def call(number: u64, a: u64, b: u64) -> i64:
    return hypercall(number, a, b, 0, 0, 0)


def test_misc() -> None:
    expect(b"misc: hypercall 11", call(11, 0, 0), -abi.ENOSYS)
    expect(b"misc: hypercall 63", call(63, 0, 0), -abi.ENOSYS)
    expect(
        b"misc: trap table, unmapped",
        call(abi.__HYPERVISOR_set_trap_table, UNMAPPED, 0),
        -abi.EFAULT,
    )
    expect(b"misc: gdt, too many", call(abi.__HYPERVISOR_set_gdt, UNMAPPED, 9000), -abi.EINVAL)
    expect(b"misc: gdt, unmapped", call(abi.__HYPERVISOR_set_gdt, UNMAPPED, 512), -abi.EFAULT)
    bases = abi.__HYPERVISOR_set_segment_base
    expect(b"misc: segment base, unknown", call(bases, 99, 0), -abi.EINVAL)
    expect(b"misc: fs base, non-canonical", call(bases, abi.SEGBASE_FS, NON_CANONICAL), -abi.EINVAL)
    expect(b"misc: fs base", call(bases, abi.SEGBASE_FS, 0x1234_5678), 0)
    expect(b"misc: debugreg 9", call(abi.__HYPERVISOR_set_debugreg, 9, 0), -abi.ENODEV)
    expect(b"misc: callback, unknown", call(abi.__HYPERVISOR_callback_op, 99, 0), -abi.ENOSYS)
    register = abi.callback_register(type=99, address=0x1000)
    result = call(abi.__HYPERVISOR_callback_op, abi.CALLBACKOP_register, u64(ref(register)))
    expect(b"misc: callback type", result, -abi.ENOSYS)
    expect(b"misc: vm_assist, unknown", call(abi.__HYPERVISOR_vm_assist, 0, 77), -abi.EINVAL)
    expect(b"misc: vm_assist, command", call(abi.__HYPERVISOR_vm_assist, 9, 0), -abi.ENOSYS)
    result = call(abi.__HYPERVISOR_update_descriptor, 0x1000, 0)
    expect(b"misc: descriptor in no GDT", result, -abi.EINVAL)
    test_multicall()
    test_version()


def test_multicall() -> None:
    number = abi.__HYPERVISOR_multicall
    expect(b"multicall: unmapped", call(number, UNMAPPED, 1), -abi.EFAULT)
    expect(b"multicall: hypervisor", call(number, HYPERVISOR, 1), -abi.EFAULT)
    calls[0].op, calls[0].args[0] = abi.__HYPERVISOR_xen_version, abi.XENVER_pagesize
    calls[1].op = 63
    calls[2].op = number
    expect(b"multicall: three", call(number, u64(ref(calls)), 3), 0)
    expect(b"multicall: a result", i64(calls[0].result), 4096)
    check(b"multicall: an error", truncate(i64, calls[1].result) == -abi.ENOSYS)
    check(b"multicall: not nested", truncate(i64, calls[2].result) < 0)


def test_version() -> None:
    number = abi.__HYPERVISOR_xen_version
    expect(b"version: is 4.17", call(number, abi.XENVER_version, 0), 4 << 16 | 17)
    expect(b"version: pagesize", call(number, abi.XENVER_pagesize, 0), 4096)
    expect(b"version: unknown", call(number, 99, 0), -abi.ENOSYS)
    expect(b"version: unmapped", call(number, abi.XENVER_extraversion, UNMAPPED), -abi.EFAULT)
    expect(b"version: capabilities", call(number, abi.XENVER_capabilities, u64(ref(text))), 0)
    features = abi.xen_feature_info(submap_idx=5)
    result = call(number, abi.XENVER_get_features, u64(ref(features)))
    expect(b"version: features out of range", result, -abi.EINVAL)
