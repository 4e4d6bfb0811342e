"""What a permitted port access reaches: dom0 the machine, other domains nothing.

The core keeps its console's UART, the interrupt controllers and the timer channels that it uses.
PCI configuration goes through a latched address and the machine's one lock, since the core itself
reads and writes configuration space. A port that a domain does not have reads as ones and swallows
writes, as an empty bus does.
"""

from kpy import Array, Ptr, Tainted, build_time, inline, static, trusted, u8, u16, u32

from kernel.console.uart import COM1_PORT, is_present
from kernel.state.domain import Domain
from kernel.x86.calibrate import PIT_CHANNEL_2
from kernel.x86.pci import CONFIG_ADDRESS, CONFIG_DATA, pci_config_read, pci_config_write
from kernel.x86.port import read_port, write_port

PCI_CONFIG_ENABLE = 1 << 31
COM1_LAST = 0x3FF
PIC_PORTS = (0x20, 0x21, 0xA0, 0xA1)
# stands still at 0 for other domains: Linux gives up measuring time by it at once
PIT_CORE_PORTS = (0x40, 0x41)  # channel 2, which beeps and calibrates, is dom0's


@build_time
def core_port_bitmap():
    """Return the ports below 0x100 that only the core uses, one bit a port."""
    bits = [0] * 32
    for port in PIC_PORTS + PIT_CORE_PORTS:
        bits[port >> 3] |= 1 << (port & 7)
    return bits


core_ports = static(Array[u8, 32], core_port_bitmap())


def is_core_port(port: Tainted[u16]) -> bool:
    """Tell whether the core keeps a port to itself."""
    if port < 0x100:
        return core_ports[port >> 3] >> (port & 7) & 1 != 0
    return COM1_PORT <= port <= COM1_LAST and is_present


@inline
def all_ones(size: u32) -> u32:
    """Return what an empty bus answers."""
    return 0xFFFFFFFF >> (32 - 8 * size)


def port_read(d: Ptr[Domain], port: Tainted[u16], size: u32) -> Tainted[u32]:
    """Read `size` (1, 2, 4) bytes from a port for a domain that may."""
    if port == CONFIG_ADDRESS and size == 4:
        return d.pci_cf8
    if port & 0xFFFC == CONFIG_DATA:
        return config_read(d, port, size)
    if not d.is_privileged:
        return 0 if port == PIT_CHANNEL_2 else all_ones(size)
    if is_core_port(port) or is_config_address(port):
        return all_ones(size)
    return read_port(trusted(port), size)  # domain 0's, as it is not the core's


def port_write(d: Ptr[Domain], port: Tainted[u16], size: u32, value: Tainted[u32]) -> None:
    """Write `size` (1, 2, 4) bytes to a port for a domain that may."""
    if port == CONFIG_ADDRESS and size == 4:
        d.pci_cf8 = value
    elif port & 0xFFFC == CONFIG_DATA:
        if config_reachable(d, port, size):
            # domain 0's device, and register, whichever it is
            pci_config_write(trusted(d.pci_cf8), u32(port & 3), size, trusted(value))
    elif d.is_privileged and not is_core_port(port) and not is_config_address(port):
        write_port(trusted(port), size, trusted(value))  # domain 0's, as it is not the core's


@inline
def is_config_address(port: Tainted[u16]) -> bool:
    """Tell whether a port belongs to the PCI address, which only whole accesses reach."""
    return port & 0xFFFC == CONFIG_ADDRESS and port != CONFIG_ADDRESS + 1


def config_reachable(d: Ptr[Domain], port: Tainted[u16], size: u32) -> bool:
    """Tell whether a domain's access to the configuration data port reaches a device."""
    return d.is_privileged and d.pci_cf8 & PCI_CONFIG_ENABLE != 0 and u32(port & 3) + size <= 4


def config_read(d: Ptr[Domain], port: Tainted[u16], size: u32) -> u32:
    """Read from the configuration data port."""
    if not config_reachable(d, port, size):
        return all_ones(size)
    # domain 0's device, and register, whichever it is
    return pci_config_read(trusted(d.pci_cf8), u32(port & 3), size)
