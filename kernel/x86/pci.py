"""PCI configuration space through its address and data ports (PCI local bus specification
3.2.2.3.2).

The address is a register of the machine, so every access takes one lock: the core's own and those
of dom0, whose `out` to the address port never reaches the machine.
"""

from kpy import static, u16, u32

from kernel.base.spinlock import SpinLock
from kernel.x86.cpu import out32
from kernel.x86.port import read_port, write_port

CONFIG_ADDRESS = 0xCF8
CONFIG_DATA = 0xCFC

pci_lock = static(SpinLock)


def pci_config_read(address: u32, offset: u32, size: u32) -> u32:
    """Read 1, 2 or 4 bytes.

    Args: address (bit 31, bus << 16, device << 11, function << 8, register & 0xfc), offset (within
    that register).
    """
    port = u16(CONFIG_DATA + offset)
    with pci_lock:
        out32(CONFIG_ADDRESS, address)
        return read_port(port, size)


def pci_config_write(address: u32, offset: u32, size: u32, value: u32) -> None:
    """Write 1, 2 or 4 bytes; `pci_config_read` explains the arguments."""
    port = u16(CONFIG_DATA + offset)
    with pci_lock:
        out32(CONFIG_ADDRESS, address)
        write_port(port, size, value)
