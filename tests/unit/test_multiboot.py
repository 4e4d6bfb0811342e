"""What boot loaders leave, read in process: the good, and all that must stop the boot."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kpy import jit

from tests.unit import boot_loader as loader
from tests.unit.boot_loader import END, PLACE, RAM, RESERVED, LoaderMemory

MIB = 1 << 20
RGB, EGA_TEXT, INDEXED = 1, 2, 0
SOME_RAM = loader.memory_map((0, 0x9FC00, RAM), (MIB, 64 * MIB, RAM))


class Core:
    """The core's readers, with the loader's memory in their window."""

    def __init__(self):
        self.program = jit.load("kernel.x86.multiboot", also=("kernel.x86.multiboot2",))
        self.memory = LoaderMemory()
        self["phys_window"].value = self.memory.window()

    def __getitem__(self, name):
        return self.program[f"kernel.x86.boot_info.{name}"]

    def start_over(self):
        """Forget what was read."""
        for name in ("nr_modules", "boot_text_length", "rsdp_length", "efi_system_table"):
            self[name].value = 0
        self["screen"].kind = 0
        for name in ("bootmem.nr_firmware_regions", "efi_map.nr_efi_regions"):
            self.program[f"kernel.x86.{name}"].value = 0

    def read2(self, *tags, size=None):
        self.start_over()
        place = self.memory.put_at_end(loader.info(*tags, size=size))
        self.program["kernel.x86.multiboot2.read_multiboot2"](place)

    def read1(self, maddr):
        self.start_over()
        self.program["kernel.x86.multiboot.read_multiboot"](maddr)

    def command_line(self):
        return bytes(self["boot_text"])[: self["boot_text_length"].value]

    def modules(self):
        """Return (start, size, text) of each."""
        found = [self["modules"][i] for i in range(self["nr_modules"].value)]
        return [(m.start, m.size, bytes(m.text)[: m.text_length]) for m in found]

    def regions(self):
        """Return (start, end, kind) of each entry of the firmware's map."""
        count = self.program["kernel.x86.bootmem.nr_firmware_regions"].value
        entries = self.program["kernel.x86.bootmem.firmware_map"]
        return [(entries[i].start, entries[i].end, entries[i].kind) for i in range(count)]


@pytest.fixture(scope="module")
def core():
    return Core()


def test_command_line_and_modules(core):
    core.read2(
        SOME_RAM,
        loader.command_line(b"placeholder console=com1"),
        loader.module(0x1000000, 0x1800123, b"vmlinux root=x"),
        loader.module(0x2000000, 0x2000000),
        END,
    )
    assert core.command_line() == b"placeholder console=com1"
    assert core.modules() == [(0x1000000, 0x800123, b"vmlinux root=x"), (0x2000000, 0, b"")]
    assert core.regions() == [(0, 0x9FC00, RAM), (MIB, 65 * MIB, RAM)]


def test_a_long_command_line_is_cut(core):
    core.read2(SOME_RAM, loader.command_line(b"x" * 2000), END)
    assert core.command_line() == b"x" * 1024


def test_entries_of_the_map_may_be_longer_than_ours(core):
    core.read2(loader.memory_map((MIB, MIB, RAM), (4 * MIB, MIB, RESERVED), step=40), END)
    assert core.regions() == [(MIB, 2 * MIB, RAM), (4 * MIB, 5 * MIB, RESERVED)]


def test_absurd_regions_are_cut_to_what_can_exist(core):
    core.read2(loader.memory_map((MIB, 2**64 - 1, RAM), (2**60, 5, RAM), (5, 0, RAM)), END)
    assert core.regions() == [(MIB, 1 << 52, RAM)]


def test_the_newer_root_pointer_counts(core):
    old, new = b"RSD PTR v1".ljust(20, b"1"), b"RSD PTR v2".ljust(36, b"2")
    pair = (loader.tag(14, old), loader.tag(15, new))
    for tags in (pair, pair[::-1]):
        core.read2(SOME_RAM, *tags, END)
        assert bytes(core["rsdp"])[: core["rsdp_length"].value] == new
    core.read2(SOME_RAM, loader.tag(14, old), END)
    assert bytes(core["rsdp"])[: core["rsdp_length"].value] == old


def test_screens(core):
    core.read2(SOME_RAM, loader.framebuffer(RGB, colours=bytes([16, 8, 8, 8, 0, 8])), END)
    screen = core["screen"]
    assert (screen.kind, screen.maddr, screen.pitch) == (1, 0xFD000000, 4096)
    assert screen.bits_per_pixel == 32
    assert (screen.width, screen.height) == (1024, 768)
    assert (screen.red.position, screen.green.position, screen.blue.size) == (16, 8, 8)
    core.read2(SOME_RAM, loader.framebuffer(EGA_TEXT, 0xB8000, 160, (80, 25), 16), END)
    assert (screen.kind, screen.maddr) == (2, 0xB8000)
    core.read2(SOME_RAM, loader.framebuffer(INDEXED, bits=8), END)
    assert screen.kind == 0


EFI_MAP = loader.efi_map(
    (7, MIB, 16, 0xF),
    (7, MIB + 16 * 4096, 16, 0xF),
    (2, 8 * MIB, 4, 0xF),
    (6, 9 * MIB, 1, 1 << 63 | 0xF),
    (9, 10 * MIB, 1, 0xF),
    (10, 11 * MIB, 1, 0xF),
    (8, 12 * MIB, 1, 0xF),
    (7, 13 * MIB, 0, 0),
    (7, 0, 1 << 60, 0),
)
EFI_KINDS = [RAM, RAM, RESERVED, loader.ACPI, loader.NVS, loader.UNUSABLE]


def test_efi(core):
    """The firmware's own map is joined, and the machine's own if there is no other."""
    core.read2(loader.tag(12, struct.pack("<Q", 0x7FEED018)), EFI_MAP, END)
    assert core["efi_system_table"].value == 0x7FEED018
    found = core.program["kernel.x86.efi_map.efi_map"]
    assert core.program["kernel.x86.efi_map.nr_efi_regions"].value == 6
    assert (found[0].type, found[0].start, found[0].nr_pages) == (7, MIB, 32)
    assert [kind for _, _, kind in core.regions()] == EFI_KINDS
    core.read2(EFI_MAP, SOME_RAM, END)
    assert len(core.regions()) == 2


SHORT_ENTRIES = SOME_RAM.replace(b"\x18\0\0\0", b"\0\0\0\0")
MODULE_BACKWARDS = loader.module(0x2000, 0x1000)
EMPTY_TAG = struct.pack("<II", 4, 0)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ((END,), "no memory map"),
        ((), "no memory map"),
        ((SOME_RAM, EMPTY_TAG, END), "longer than all of it, or empty"),
        ((SOME_RAM, struct.pack("<II", 1, 4096)), "longer than all of it, or empty"),
        ((SOME_RAM, b"\0\0\0\0"), "cut short"),
        ((SOME_RAM, loader.tag(3, b"\0\0\0\0"), END), "cut short"),
        ((loader.tag(6, b""), END), "cut short"),
        ((SHORT_ENTRIES, END), "too short"),
        ((SOME_RAM, loader.tag(17, struct.pack("<II", 8, 1)), END), "too short"),
        ((SOME_RAM, loader.tag(8, b"\0" * 8), END), "cut short"),
        ((SOME_RAM, loader.framebuffer(RGB), END), "cut short"),
        ((SOME_RAM, loader.tag(12, b"\0" * 4), END), "cut short"),
        ((SOME_RAM, loader.tag(14, b"RSD"), END), "root pointer is cut short"),
        ((SOME_RAM, MODULE_BACKWARDS, END), "ends before it starts"),
        ((SOME_RAM, *[loader.module(0, 1)] * 9, END), "more than 8 modules"),
        ((loader.memory_map(*[(i * 8192, 4096, RAM) for i in range(257)]), END), "more than 256"),
    ],
)
def test_refused(core, tags, reason):
    with pytest.raises(jit.KpyPanic, match=reason):
        core.read2(*tags)


@pytest.mark.parametrize("size", [4, 7, (1 << 20) + 8, 0xFFFFFFFF])
def test_an_absurd_size_is_refused(core, size):
    with pytest.raises(jit.KpyPanic, match="absurd"):
        core.read2(SOME_RAM, END, size=size)


@pytest.mark.parametrize("maddr", [(1 << 32) - 4, 1 << 32, (1 << 64) - 8])
def test_information_beyond_the_early_map_is_refused(core, maddr):
    for reader in ("multiboot.read_multiboot", "multiboot2.read_multiboot2"):
        with pytest.raises(jit.KpyPanic, match="beyond 4 GiB"):
            core.program[f"kernel.x86.{reader}"](maddr)


@settings(max_examples=400, deadline=None)
@given(
    kinds=st.lists(st.tuples(st.integers(0, 20), st.binary(max_size=80)), max_size=6),
    cut=st.integers(0, 40),
    sizes=st.lists(st.integers(0, 100), max_size=6),
)
def test_no_tags_make_it_read_beyond_the_information(core, kinds, cut, sizes):
    """The memory behind it faults; a panic is as good as an answer."""
    tags = [loader.tag(kind, content) for kind, content in kinds]
    for i, size in enumerate(sizes[: len(tags)]):
        tags[i] = tags[i][:4] + struct.pack("<I", size) + tags[i][8:]
    body = b"".join(tags)
    body = body[: max(len(body) - cut, 0) // 8 * 8]
    try:
        core.read2(body)
    except jit.KpyPanic:
        return
    assert core.regions()


def old_info(core, cmdline=0, mods=(0, 0), mmap=(0, 0), flags=0x4C):
    """Write multiboot information at PLACE and read it."""
    fields = (flags, 0, 0, 0, cmdline, mods[0], mods[1], 0, 0, 0, 0, mmap[1], mmap[0])
    core.memory.put(PLACE, struct.pack("<13I", *fields))
    core.read1(PLACE)


def test_the_old_protocol(core):
    memory = core.memory
    memory.put(PLACE + 0x100, b"core console=com1\0")
    memory.put(PLACE + 0x200, struct.pack("<4I", 0x1000000, 0x1000100, PLACE + 0x100, 0))
    memory.put(PLACE + 0x300, struct.pack("<IQQI", 20, MIB, MIB, RAM) * 2)
    old_info(core, PLACE + 0x100, (1, PLACE + 0x200), (PLACE + 0x300, 48))
    assert core.command_line() == b"core console=com1"
    assert core.modules() == [(0x1000000, 0x100, b"core console=com1")]
    assert core.regions() == [(MIB, 2 * MIB, RAM)] * 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"flags": 0}, "no memory map"),
        ({"mmap": (PLACE + 0x400, 24)}, "too short"),
        ({"mmap": (0xFFFFF000, 0x2000)}, "beyond 4 GiB"),
        ({"mods": (1 << 28, PLACE)}, "beyond 4 GiB"),
    ],
)
def test_the_old_protocol_refused(core, changes, reason):
    core.memory.put(PLACE + 0x400, bytes(24))
    with pytest.raises(jit.KpyPanic, match=reason):
        old_info(core, **changes)
