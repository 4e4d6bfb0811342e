"""Which I/O ports a guest may use: its kernel by its I/O privilege level, its user mode also by a
port bitmap.

That only decides whether the guest gets a #GP. What a permitted access reaches is another matter:
dom0 has the machine's ports except the core's own; other domains read ones and write nothing.
"""

import abi
from kpy import (
    Array,
    Guest,
    Ptr,
    Result,
    Tainted,
    inline,
    require,
    u8,
    u16,
    u32,
    u64,
    uninitialized,
    wrapping_add,
)

from kernel.base.guest_memory import copy_slice_from_guest, guest_array_okay
from kernel.state.domain import ARCHITECTURAL_IOPL
from kernel.state.vcpu import Vcpu

MAX_IO_BITMAP_PORTS = 65536
IO_BITMAP_BYTES = MAX_IO_BITMAP_PORTS // 8
USER_LEVEL = 3


def physdev_set_iopl(vcpu: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_set_iopl]]) -> Result[None]:
    """Set the I/O privilege level of the calling vCPU.

    Source: Xen public ABI, physdev.h, PHYSDEVOP_set_iopl. Errors: -EFAULT; -EINVAL, above 3.
    """
    require(op.iopl <= 3, -abi.EINVAL)
    vcpu.iopl = op.iopl


def physdev_set_iobitmap(
    vcpu: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_set_iobitmap]]
) -> Result[None]:
    """Tell where the calling vCPU's port bitmap for user mode lies; a clear bit permits.

    Source: Xen public ABI, physdev.h, PHYSDEVOP_set_iobitmap. Errors: -EFAULT; -EINVAL, more ports
    than there are, or a bitmap that reaches into the core.
    """
    nr_ports = op.nr_ports
    require(nr_ports <= MAX_IO_BITMAP_PORTS, -abi.EINVAL)
    require(guest_array_okay(op.bitmap, IO_BITMAP_BYTES), -abi.EINVAL)
    vcpu.io_bitmap = op.bitmap.address()
    vcpu.io_bitmap_ports = nr_ports


@inline
def iopl_ok(vcpu: Ptr[Vcpu]) -> bool:
    """Tell whether the vCPU's privilege level reaches all ports.

    A guest kernel counts as ring 1, or 0 if it asked for that.
    """
    level: u32 = USER_LEVEL
    if vcpu.kernel_mode:
        level = 0 if vcpu.domain.vm_assist & ARCHITECTURAL_IOPL else 1
    return vcpu.iopl >= level


def ports_permitted(vcpu: Ptr[Vcpu], port: Tainted[u16], size: u32) -> bool:
    """Tell whether the guest may use `size` ports from `port` on."""
    if iopl_ok(vcpu):
        return True
    end = wrapping_add(u32(port), size)
    if end > vcpu.io_bitmap_ports:
        return False
    bits = uninitialized(Tainted[Array[u8, 2]])
    byte = wrapping_add(vcpu.io_bitmap, u64(port >> 3))
    wanted: u64 = 2 if (end - 1) >> 3 != u32(port) >> 3 else 1
    bits[1] = 0
    if not copy_slice_from_guest(bits[0:wanted], Guest[u8](byte)):
        return False
    denied = (u32(bits[1]) << 8 | u32(bits[0])) >> u32(port & 7)
    return denied & ((u32(1) << size) - 1) == 0
