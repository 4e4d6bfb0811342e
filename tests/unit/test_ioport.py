"""Port accesses of domains: who may, and what they reach. The machine's ports are Python here."""

import pytest
from kpy import jit

from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu
from tests.unit.guest import GuestMemory

BITMAP = 0xFFFF888000000000


class Machine:
    """A machine that notes every access to its ports and to PCI configuration space."""

    def __init__(self):
        self.done = []
        cpu = "kernel.x86.cpu."
        replace = {f"{cpu}in{bits}": self.reader(bits) for bits in (8, 16, 32)}
        replace |= {f"{cpu}out{bits}": self.writer(bits) for bits in (8, 16, 32)}
        replace["kernel.x86.pci.pci_config_read"] = self.config_read
        replace["kernel.x86.pci.pci_config_write"] = lambda *a: self.done.append(("config", *a))
        self.program = jit.load("kernel.emulate.ioport", replace=replace)
        self.dom0 = self.program.new(Domain, is_privileged=True)
        self.guest = self.program.new(Domain)

    def reader(self, bits):
        return lambda port: self.done.append((bits, port)) or 0x5A

    def writer(self, bits):
        return lambda port, value: self.done.append((bits, port, value))

    def config_read(self, address, offset, size):
        self.done.append(("config", address, offset, size))
        return 0x8086


@pytest.fixture(scope="module")
def shared():
    return Machine()


@pytest.fixture
def machine(shared):
    shared.done.clear()
    shared.dom0.pci_cf8 = shared.guest.pci_cf8 = 0
    return shared


def test_dom0_reaches_the_machine(machine):
    assert machine.program.port_read(machine.dom0, 0x64, 1) == 0x5A
    machine.program.port_write(machine.dom0, 0x1F0, 2, 0x1234)
    assert machine.done == [(8, 0x64), (16, 0x1F0, 0x1234)]


@pytest.mark.parametrize("port", [0x20, 0x21, 0xA0, 0xA1, 0x40, 0x41, 0xCF8, 0xCFB])
def test_the_core_keeps_its_ports(machine, port):
    assert machine.program.port_read(machine.dom0, port, 1) == 0xFF
    machine.program.port_write(machine.dom0, port, 1, 0)
    assert machine.done == []


@pytest.mark.parametrize("is_present", [True, False])
def test_the_console_is_the_cores_where_there_is_one(machine, is_present):
    """Its eight ports, and none beside them."""
    machine.program["kernel.console.uart.is_present"].value = is_present
    for port in (0x3F7, 0x3F8, 0x3FF, 0x400):
        machine.done.clear()
        machine.program.port_read(machine.dom0, port, 1)
        assert (machine.done == []) == (is_present and 0x3F8 <= port <= 0x3FF)
    machine.program["kernel.console.uart.is_present"].value = False


def test_the_reset_port_lies_in_the_pci_address(machine):
    """0xCF9 is domain 0's, the bytes around it are nobody's."""
    machine.program.port_write(machine.dom0, 0xCF9, 1, 6)
    assert machine.done == [(8, 0xCF9, 6)]
    machine.program.port_write(machine.dom0, 0xCFA, 1, 6)
    assert len(machine.done) == 1


@pytest.mark.parametrize(("size", "ones"), [(1, 0xFF), (2, 0xFFFF), (4, 0xFFFFFFFF)])
def test_other_domains_reach_nothing(machine, size, ones):
    assert machine.program.port_read(machine.guest, 0x64, size) == ones
    machine.program.port_write(machine.guest, 0x64, size, 0)
    assert machine.done == []


def test_config_address_is_latched(machine):
    """The address stays with the domain; data accesses go out with it."""
    address = 0x80000000 | 3 << 11
    machine.program.port_write(machine.dom0, 0xCF8, 4, address)
    assert machine.program.port_read(machine.dom0, 0xCF8, 4) == address
    assert machine.program.port_read(machine.dom0, 0xCFE, 2) == 0x8086
    assert machine.done == [("config", address, 2, 2)]


def test_config_needs_enable_bit_and_dom0(machine):
    assert machine.program.port_read(machine.dom0, 0xCFC, 4) == 0xFFFFFFFF
    machine.program.port_write(machine.guest, 0xCF8, 4, 0x80000000)
    assert machine.program.port_read(machine.guest, 0xCFC, 4) == 0xFFFFFFFF
    assert machine.program.port_read(machine.guest, 0xCF8, 4) == 0x80000000
    machine.program.port_write(machine.dom0, 0xCF8, 4, 0x80000000)
    assert machine.program.port_read(machine.dom0, 0xCFF, 2) == 0xFFFF  # beyond the register
    assert machine.done == []


@pytest.fixture(scope="module")
def permission():
    memory = GuestMemory(BITMAP, 8192)
    copy = "kernel.base.guest_memory.copy_bytes_from_guest"
    program = jit.load("kernel.emulate.io_permission", replace={copy: memory.copy_from_guest})
    vcpu = program.new(Vcpu)
    vcpu.domain = program.new(Domain)
    return memory, program, vcpu


@pytest.mark.parametrize(
    ("kernel", "iopl", "may"),
    [(True, 0, False), (True, 1, True), (False, 1, False), (False, 3, True)],
)
def test_privilege_level(permission, kernel, iopl, may):
    """A guest kernel counts as ring 1."""
    _, program, vcpu = permission
    vcpu.kernel_mode, vcpu.iopl, vcpu.io_bitmap_ports = kernel, iopl, 0
    assert program.ports_permitted(vcpu, 0x60, 1) == may


def test_bitmap(permission):
    """User mode may use exactly the ports whose bits are clear, across bytes too."""
    memory, program, vcpu = permission
    memory.write(BITMAP, b"\xff" * 8192)
    memory.write(BITMAP + 0x3F8 // 8, b"\x00")
    vcpu.kernel_mode, vcpu.iopl = False, 0
    vcpu.io_bitmap, vcpu.io_bitmap_ports = BITMAP, 65536
    assert program.ports_permitted(vcpu, 0x3F8, 4)
    assert program.ports_permitted(vcpu, 0x3FF, 1)
    assert not program.ports_permitted(vcpu, 0x3FE, 4)
    assert not program.ports_permitted(vcpu, 0x3F7, 2)
    assert not program.ports_permitted(vcpu, 0xFFFF, 2)
    vcpu.io_bitmap_ports = 0x3F8
    assert not program.ports_permitted(vcpu, 0x3F8, 1)
