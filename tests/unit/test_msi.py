"""Messages of PCI devices: capabilities found in a made-up configuration space, messages written as
PCI says.
"""

import ctypes

import pytest
from kpy import jit

ADDRESS = 1 << 31 | 3 << 11
space = {}
table = (ctypes.c_uint32 * 64)()


def read(address, offset, size):
    return space.get(address & 0xFC, 0) if address & ~0xFC == ADDRESS else 0xFFFFFFFF


def write(address, offset, size, value):
    space[address & 0xFC] = value


@pytest.fixture(scope="module")
def program():
    replace = {
        "kernel.x86.pci.pci_config_read": read,
        "kernel.x86.pci.pci_config_write": write,
        "kernel.x86.paging.map_device": lambda maddr, size: (
            ctypes.addressof(table) + maddr - 0x12345000
        ),
    }
    return jit.load("kernel.x86.msi", replace=replace)


@pytest.fixture(autouse=True)
def device():
    space.clear()
    space.update({0x00: 0x10001AF4, 0x04: 0x00100000, 0x34: 0x40})
    ctypes.memset(table, 0, ctypes.sizeof(table))


def source_of(program):
    from kernel.x86.msi import MsiSource

    return program.new(MsiSource)


def test_msi_with_64_bit_address(program):
    space.update({0x40: 0x5009, 0x50: 0x0180_0005})
    source = source_of(program)
    assert program.find_msi(ADDRESS, source)
    program.write_message(source, 0x41, 3)
    assert (space[0x54], space[0x58], space[0x5C]) == (0xFEE03000, 0, 0x41)
    program.mask_message(source, True)
    assert space[0x60] == 1


def test_msi_with_32_bit_address_and_no_mask(program):
    space.update({0x40: 0x0000_0005})
    source = source_of(program)
    assert program.find_msi(ADDRESS, source)
    program.write_message(source, 0x99, 1)
    assert (space[0x44], space[0x48]) == (0xFEE01000, 0x99)
    before = dict(space)
    program.mask_message(source, True)
    assert space == before


def test_msix_entry_is_written_masked_then_opened(program):
    space.update({0x40: 0x0003_0011, 0x44: 0x0000_0010 | 1, 0x14: 0x12345000})
    source = source_of(program)
    assert program.find_msix(ADDRESS, 2, source)
    program.write_message(source, 0x55, 0)
    entry = 4 + 8  # table offset 16, third entry
    assert list(table[entry : entry + 4]) == [0xFEE00000, 0, 0x55, 1]
    program.mask_message(source, False)
    assert table[entry + 3] == 0


def test_msix_entry_beyond_the_table(program):
    space.update({0x40: 0x0003_0011, 0x44: 1, 0x14: 0x12345000})
    assert not program.find_msix(ADDRESS, 4, source_of(program))


def test_a_device_without_capabilities(program):
    space[0x04] = 0
    assert not program.find_msi(ADDRESS, source_of(program))


def test_a_circular_list_ends(program):
    space.update({0x40: 0x4009})
    assert not program.find_msi(ADDRESS, source_of(program))


def test_nobody_answers(program):
    assert not program.device_exists(ADDRESS + (1 << 11))
    assert program.device_exists(ADDRESS)
