"""What UEFI left behind, for domain 0: it finds ACPI's and SMBIOS's tables by it.

UEFI's services cannot be called: the core has given them up at boot.
"""

import abi
from kpy import Guest, Ptr, Tainted, i64, ref, require, trusted, u16, u32, u64

from kernel.base.guest_memory import copy_to_guest
from kernel.base.ids import PAGE_SIZE
from kernel.x86 import efi
from kernel.x86.efi_map import find_efi_memory

CHARACTER_BYTES = 2


def efi_info(index: Tainted[u32], info: Ptr[Tainted[abi.xenpf_efi_info]]) -> i64:
    """Answer one question about UEFI.

    Source: Xen public ABI, platform.h, XEN_FW_EFI_INFO.
    Errors: -ENOSYS, not booted by UEFI; -ESRCH, no such memory, no PCI ROM; -ENODATA, no properties
    of a Macintosh; -EOPNOTSUPP, no vendor; -EFAULT, the room for its name; -EINVAL, unknown.
    """
    require(efi.efi_revision != 0, -abi.ENOSYS)
    match index:
        case abi.XEN_FW_EFI_VERSION:
            info.version = efi.efi_revision
        case abi.XEN_FW_EFI_RT_VERSION:
            info.version = efi.efi_runtime_revision
        case abi.XEN_FW_EFI_CONFIG_TABLE:
            info.cfg.addr = efi.efi_tables_maddr
            info.cfg.nent = u32(efi.nr_efi_tables)
        case abi.XEN_FW_EFI_VENDOR:
            return efi_vendor_info(info)
        case abi.XEN_FW_EFI_MEM_INFO:
            return efi_memory_info(info)
        case abi.XEN_FW_EFI_PCI_ROM:
            return -abi.ESRCH
        case abi.XEN_FW_EFI_APPLE_PROPERTIES:
            return -abi.ENODATA
        case _:
            return -abi.EINVAL
    return 0


def efi_vendor_info(info: Ptr[Tainted[abi.xenpf_efi_info]]) -> i64:
    """Tell who made the firmware: as much of the name as there is room for, and a 0 behind it."""
    require(efi.efi_vendor != 0, -abi.EOPNOTSUPP)
    info.vendor.revision = efi.efi_vendor_revision
    name = Guest[u16](info.vendor.name)
    room = min(info.vendor.bufsz // CHARACTER_BYTES, u32(efi.MAX_VENDOR) + 1)
    for i in range(room):
        letter = efi.vendor_character(u64(i)) if i + 1 < room else u16(0)
        require(copy_to_guest(name.index(u64(i)), ref(letter)), -abi.EFAULT)
        if letter == 0:
            break
    return 0


def efi_memory_info(info: Ptr[Tainted[abi.xenpf_efi_info]]) -> i64:
    """Tell what the memory at `mem.addr` is, from there to the end of its stretch."""
    found = find_efi_memory(info.mem.addr)
    require(found is not None, -abi.ESRCH)
    inside = trusted(info.mem.addr) - found.start  # it was found there
    info.mem.size = found.nr_pages * PAGE_SIZE - inside
    info.mem.attr = found.attribute
    info.mem.type = found.type
    return 0
