"""What domain 0 is told of UEFI."""

import abi
import pytest
from kpy import jit

from tests.unit.guest import GuestMemory

BASE = 0xFFFFFFFF81000000
ROOM = BASE + 0x100
NAME = "EDK II"


@pytest.fixture(scope="module")
def efi():
    memory = GuestMemory(BASE)
    letters = dict(enumerate(map(ord, NAME)))
    program = jit.load(
        "kernel.control.efi_info",
        replace={
            "kernel.base.guest_memory.copy_bytes_to_guest": memory.copy_to_guest,
            "kernel.x86.efi.vendor_character": lambda index: letters.get(index, 0),
        },
    )
    return memory, program


@pytest.fixture
def ask(efi):
    """Ask by number: (result, the answer)."""
    _, program = efi
    program["kernel.x86.efi.efi_revision"].value = 2 << 16 | 70

    def run(index, **fields):
        info = program.new(abi.xenpf_efi_info)
        for path, value in fields.items():
            part, field = path.split("__")
            setattr(getattr(info, part), field, value)
        return program.efi_info(index, info), info

    return run


def test_a_bios_machine_has_none(efi, ask):
    efi[1]["kernel.x86.efi.efi_revision"].value = 0
    assert ask(abi.XEN_FW_EFI_VERSION)[0] == -abi.ENOSYS


def test_versions_and_tables(efi, ask):
    program = efi[1]
    program["kernel.x86.efi.efi_runtime_revision"].value = 2 << 16 | 60
    program["kernel.x86.efi.efi_tables_maddr"].value = 0x7F000000
    program["kernel.x86.efi.nr_efi_tables"].value = 9
    assert ask(abi.XEN_FW_EFI_VERSION)[1].version == 2 << 16 | 70
    assert ask(abi.XEN_FW_EFI_RT_VERSION)[1].version == 2 << 16 | 60
    result, info = ask(abi.XEN_FW_EFI_CONFIG_TABLE)
    assert (result, info.cfg.addr, info.cfg.nent) == (0, 0x7F000000, 9)


@pytest.mark.parametrize(
    ("room", "name"), [(100, NAME), (14, NAME), (8, "EDK"), (2, ""), (1, None)]
)
def test_the_vendor_has_as_much_room_as_it_is_given(efi, ask, room, name):
    memory, program = efi
    assert ask(abi.XEN_FW_EFI_VENDOR)[0] == -abi.EOPNOTSUPP
    program["kernel.x86.efi.efi_vendor"].value = 1
    program["kernel.x86.efi.efi_vendor_revision"].value = 5
    memory.write(ROOM, b"\xff" * 100)
    result, info = ask(abi.XEN_FW_EFI_VENDOR, vendor__name=ROOM, vendor__bufsz=room)
    program["kernel.x86.efi.efi_vendor"].value = 0
    assert (result, info.vendor.revision) == (0, 5)
    text = b"" if name is None else (name + "\0").encode("utf-16-le")
    assert memory.bytes[ROOM - BASE :][:100] == text.ljust(100, b"\xff")


def test_a_vendor_name_needs_memory(efi, ask):
    program = efi[1]
    program["kernel.x86.efi.efi_vendor"].value = 1
    result, _ = ask(abi.XEN_FW_EFI_VENDOR, vendor__name=0x1000, vendor__bufsz=100)
    program["kernel.x86.efi.efi_vendor"].value = 0
    assert result == -abi.EFAULT


def test_memory(efi, ask):
    program = efi[1]
    found = program["kernel.x86.efi_map.efi_map"][0]
    found.type, found.start, found.nr_pages, found.attribute = 7, 0x100000, 16, 0xF
    program["kernel.x86.efi_map.nr_efi_regions"].value = 1
    result, info = ask(abi.XEN_FW_EFI_MEM_INFO, mem__addr=0x101800)
    assert (result, info.mem.size, info.mem.type, info.mem.attr) == (0, 0xE800, 7, 0xF)
    for outside in (0xFFFFF, 0x110000):
        assert ask(abi.XEN_FW_EFI_MEM_INFO, mem__addr=outside)[0] == -abi.ESRCH


@pytest.mark.parametrize(
    ("index", "error"),
    [
        (abi.XEN_FW_EFI_PCI_ROM, abi.ESRCH),
        (abi.XEN_FW_EFI_APPLE_PROPERTIES, abi.ENODATA),
        (7, abi.EINVAL),
    ],
)
def test_what_it_does_not_tell(ask, index, error):
    assert ask(index)[0] == -error
