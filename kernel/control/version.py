"""xen_version: what runs underneath, in the terms of Xen 4.17, whose ABI this core offers."""

import abi
from kpy import (
    Array,
    Guest,
    Ptr,
    Slice,
    Tainted,
    TypeVar,
    build_time,
    copy_slice,
    i64,
    inline,
    ref,
    require,
    static,
    u8,
    u32,
    u64,
    uninitialized,
)

import kernel.base.cmdline
from kernel.base.guest_memory import copy_from_guest, copy_to_guest
from kernel.base.ids import PAGE_SIZE
from kernel.base.registry import hypercall
from kernel.state.vcpu import Vcpu
from kernel.x86.boot_info import COMMAND_LINE_BYTES

T = TypeVar("T")

XEN_MAJOR, XEN_MINOR = 4, 17
FEATURES_OF_ALL = (
    1 << abi.XENFEAT_mmu_pt_update_preserve_ad
    | 1 << abi.XENFEAT_highmem_assist
    | 1 << abi.XENFEAT_gnttab_map_avail_bits
    | 1 << abi.XENFEAT_memory_op_vnode_supported
    | 1 << abi.XENFEAT_direct_mapped
)
PAE_EXTENDED_CR3 = 1 << abi.VMASST_TYPE_pae_extended_cr3


@build_time
def padded(text, size):
    """Return a text as a list of bytes, filled up with zeros."""
    return list(text.encode().ljust(size, b"\0"))


extraversion = static(Array[u8, 16], padded(".0-proxen", 16))
capabilities = static(Array[u8, 1024], padded("xen-3.0-x86_64 ", 1024))
changeset = static(Array[u8, 64], padded("unavailable", 64))
compile_info = static(
    abi.xen_compile_info,
    {
        "compiler": padded("kernel Python, LLVM 22", 64),
        "compile_by": padded("proxen", 16),
        "compile_domain": padded("", 32),
        "compile_date": padded("", 32),
    },
)


@hypercall(abi.__HYPERVISOR_xen_version)
def do_xen_version(vcpu: Ptr[Vcpu], command: Tainted[u32], arg: Tainted[u64]) -> i64:
    """Say what runs underneath.

    Hypercall: xen_version(command: XENVER_*, arg: a structure to fill).
    Errors: -EFAULT; -ENOSYS, no such command; -EINVAL, no such set of features; -ENODATA, no build
    id; -EPERM, a domain other than dom0 asks for the build id.
    """
    match command:
        case abi.XENVER_version:
            return XEN_MAJOR << 16 | XEN_MINOR
        case abi.XENVER_get_features:
            return get_features(vcpu, arg)
        case abi.XENVER_pagesize:
            require(arg == 0, -abi.EINVAL)
            return PAGE_SIZE
        case abi.XENVER_guest_handle:
            return answer(arg, ref(vcpu.domain.handle))
        case abi.XENVER_commandline:
            return command_line(vcpu, arg)
        case abi.XENVER_build_id:
            require(vcpu.domain.is_privileged, -abi.EPERM)
            return -abi.ENODATA
        case _:
            return answer_all(command, arg)


@inline
def answer_all(command: Tainted[u32], arg: Tainted[u64]) -> i64:
    """Say what is the same for everybody. Errors: -EFAULT; -ENOSYS, no such command."""
    match command:
        case abi.XENVER_extraversion:
            return answer(arg, ref(extraversion))
        case abi.XENVER_compile_info:
            return answer(arg, ref(compile_info))
        case abi.XENVER_capabilities:
            return answer(arg, ref(capabilities))
        case abi.XENVER_changeset:
            return answer(arg, ref(changeset))
        case abi.XENVER_platform_parameters:
            where = abi.xen_platform_parameters(virt_start=abi.HYPERVISOR_VIRT_START)
            return answer(arg, ref(where))
        case _:
            return -abi.ENOSYS


def answer(to: Tainted[u64], from_: Ptr[T]) -> i64:
    """Copy a structure to the guest."""
    require(copy_to_guest(Guest[T](to), from_), -abi.EFAULT)
    return 0


def get_features(vcpu: Ptr[Vcpu], arg: Tainted[u64]) -> i64:
    """Tell the features (XENFEAT_*) that the calling domain has."""
    info = uninitialized(Tainted[abi.xen_feature_info])
    here = Guest[abi.xen_feature_info](arg)
    require(copy_from_guest(ref(info), here), -abi.EFAULT)
    require(info.submap_idx == 0, -abi.EINVAL)
    info.submap = FEATURES_OF_ALL
    if vcpu.domain.is_privileged:
        info.submap |= 1 << abi.XENFEAT_dom0
    if vcpu.domain.vm_assist & PAE_EXTENDED_CR3:
        info.submap |= 1 << abi.XENFEAT_pae_pgdir_above_4gb
    require(copy_to_guest(here, ref(info)), -abi.EFAULT)
    return 0


def command_line(vcpu: Ptr[Vcpu], arg: Tainted[u64]) -> i64:
    """Show dom0 the core's command line."""
    text = Array[u8, COMMAND_LINE_BYTES]()
    source: Slice[u8] = b"<denied>"
    if vcpu.domain.is_privileged:
        source = kernel.base.cmdline.command_line
    length = min(len(source), COMMAND_LINE_BYTES - 1)
    copy_slice(text[0:length], source[0:length])
    return answer(arg, ref(text))
