"""The core's messages on a screen: of text, of pixels of each size, and scrolled."""

import ctypes

import pytest
from kpy import jit

from tests.unit.screen_text import read_text

TEXT, PIXELS = 2, 1
WINDOW = 0x10000000  # where the direct map would be: only not 0
LIGHT_GREY = 0xAAAAAA


class Screen:
    """A screen in memory of this test."""

    def __init__(self):
        self.program = jit.load(
            "kernel.console.screen",
            replace={
                "kernel.console.screen.screen_address": lambda: self.address,
                "kernel.x86.paging.map_core_range": lambda *_: None,
            },
            also=("kernel.base.cmdline",),
        )
        self.info = self.program["kernel.x86.boot_info.screen"]

    def start(self, kind, width, height, bits=32, options=b"core console=vga", spare=0):
        size = width * 2 if kind == TEXT else width * bits // 8
        self.pitch, self.size = size + spare, (width, height)
        self.memory = ctypes.create_string_buffer(
            b"\xee" * (self.pitch * height), self.pitch * height
        )
        self.address = ctypes.addressof(self.memory)
        self.info.kind, self.info.bits_per_pixel = kind, bits
        self.info.maddr, self.info.pitch = 0xFD000000, self.pitch
        self.info.width, self.info.height = width, height
        places = {15: (10, 5, 0, 5), 16: (11, 5, 0, 5)}.get(bits, (16, 8, 0, 8))
        self.info.red.position, self.info.green.position, self.info.blue.position, count = places
        self.info.red.size = self.info.green.size = self.info.blue.size = count
        for name in ("column", "row"):
            self.program[f"kernel.console.screen.{name}"].value = 0
        self.options = ctypes.create_string_buffer(options)
        self.program["kernel.base.cmdline.set_command_line"](self.options.value)
        self.program.is_shown.value = False
        self.program.is_mapped.value = False
        self.program.screen_init()

    def put(self, text):
        for character in text.encode("latin-1"):
            if self.program.is_shown.value:
                self.program.screen_put(character)

    def pixel(self, x, y):
        size = self.info.bits_per_pixel // 8 or 1
        place = y * self.pitch + x * size
        return int.from_bytes(self.memory.raw[place : place + size], "little")

    def lines(self):
        """Return the lines that have something in them."""
        width, height = self.size
        if self.info.kind == TEXT:
            rows = [
                self.memory.raw[y * self.pitch :][: width * 2 : 2].decode() for y in range(height)
            ]
        else:
            raw, size, pitch = self.memory.raw, self.info.bits_per_pixel // 8, self.pitch
            rows = read_text(lambda x, y: any(raw[y * pitch + x * size :][:size]), width, height)
        return [line.rstrip() for line in rows]


@pytest.fixture(scope="module")
def screen():
    return Screen()


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_pixels(screen, bits):
    screen.start(PIXELS, 160, 64, bits, spare=24)
    screen.put("proxen: Hello, ~!\nNext")
    assert screen.lines() == ["proxen: Hello, ~!", "Next", "", ""]
    lit = {screen.pixel(x, y) for x in range(160) for y in range(64)} - {0}
    assert lit == {LIGHT_GREY if bits > 16 else 0xAAB5}
    spare = {screen.memory.raw[y * screen.pitch + 160 * bits // 8 :][:24] for y in range(64)}
    assert spare == {b"\xee" * 24}


def test_text(screen):
    screen.start(TEXT, 80, 25, 16)
    screen.put("one\ntwo")
    assert screen.lines()[:3] == ["one", "two", ""]
    assert set(screen.memory.raw[1::2]) == {0x07}


@pytest.mark.parametrize(("kind", "width", "height"), [(TEXT, 20, 4), (PIXELS, 160, 64)])
def test_at_the_bottom_everything_moves_up(screen, kind, width, height):
    screen.start(kind, width, height)
    screen.put("".join(f"line {i}\n" for i in range(9)))
    assert screen.lines() == ["line 6", "line 7", "line 8", ""]


def test_long_lines_are_broken(screen):
    screen.start(TEXT, 20, 4)
    screen.put("x" * 20 + "yz\rY")
    assert screen.lines() == ["x" * 20, "Yz", "", ""]


def test_what_is_no_letter_is_a_space(screen):
    screen.start(PIXELS, 160, 64)
    screen.put("a\x1b\x00\xffb")
    assert screen.lines()[0] == "a   b"


def test_a_line_that_has_no_more_room_is_not_lost_when_a_newline_follows(screen):
    screen.start(TEXT, 20, 4)
    screen.put("x" * 20 + "\n" + "y")
    assert screen.lines()[:2] == ["x" * 20, "y"]


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 1 << 31},
        {"height": 0},
        {"width": 7},
        {"bits_per_pixel": 8},
        {"pitch": 10},
        {"pitch": 1 << 31, "height": 1 << 31},
    ],
)
def test_an_absurd_screen_is_not_used(screen, changes):
    screen.start(PIXELS, 160, 64)
    for name, value in changes.items():
        setattr(screen.info, name, value)
    screen.program.is_shown.value = False
    screen.address = 8  # whoever draws is seen
    screen.program.screen_init()
    screen.put("x")
    assert not screen.program.is_shown.value


def test_a_large_screen_is_used_in_part(screen):
    screen.start(PIXELS, 4096, 2160)
    assert (screen.program.columns.value, screen.program.rows.value) == (256, 128)


def test_the_command_line_chooses(screen):
    for options, shown in (
        (b"core", True),
        (b"core console=com1", False),
        (b"core console=com1,vga", True),
    ):
        screen.start(TEXT, 20, 4, options=options)
        assert screen.program.is_shown.value == shown


def test_a_bios_machine_has_text_if_the_loader_does_not_say(screen):
    screen.start(TEXT, 80, 25)
    screen.info.kind = 0
    screen.program.screen_init()
    assert (screen.info.maddr, screen.info.width, screen.program.rows.value) == (0xB8000, 80, 25)
    screen.info.kind = 0
    screen.program.is_shown.value = False
    screen.program["kernel.x86.boot_info.efi_system_table"].value = 1
    screen.program.screen_init()
    screen.program["kernel.x86.boot_info.efi_system_table"].value = 0
    assert not screen.program.is_shown.value


def test_domain_0_takes_it_and_a_panic_takes_it_back(screen):
    screen.start(TEXT, 20, 4)
    screen.put("early")
    screen.program.map_screen()
    screen.program.screen_release()
    screen.put("unseen")
    assert screen.lines()[0] == "early"
    screen.program.screen_reclaim()
    screen.put("panic: it")
    assert screen.lines() == ["panic: it", "", "", ""]
