"""The screen that the boot loader left: what the core prints is shown there until domain 0 takes
it, and again if the core dies.

It is text as on a PC of old, or pixels, on which `kernel.console.font` is drawn. `cells` is what
the screen shows, whether or not it can be reached just now, so nothing is ever read from it. Before
the core's own tables it is written at its machine address, if the early map shows that, later
through a window of its own.
"""

from kpy import (
    Array,
    Ptr,
    Tainted,
    cold,
    fill,
    inline,
    ref,
    static,
    u8,
    u16,
    u32,
    u64,
    volatile_store,
)

from kernel.base.cmdline import SPACE, option_list_has
from kernel.console.font import FIRST, GLYPH_HEIGHT, GLYPH_WIDTH, glyphs
from kernel.x86 import boot_info
from kernel.x86.bits import PTE_CACHE_DISABLE
from kernel.x86.boot_area import EARLY_MAP_END, TEXT_SCREEN
from kernel.x86.boot_info import Colour, ScreenKind
from kernel.x86.memlayout import SCREEN_VIRT_START
from kernel.x86.paging import CORE_DATA, map_core_range

MAX_COLUMNS, MAX_ROWS = 256, 128
MAX_BYTES = 1 << 28
TEXT_COLUMNS, TEXT_ROWS, TEXT_PITCH = 80, 25, 160
TEXT_COLOUR = 0x07  # light grey on black
BRIGHTNESS = 0xAA  # of 255, of each colour
PAGE_MASK = 0xFFF
LAST_SHAPE = ord("~")
NEWLINE, RETURN = ord("\n"), ord("\r")

cells = static(Array[u8, MAX_COLUMNS * MAX_ROWS])
columns = static(u64)
rows = static(u64)
column = static(u64)
row = static(u64)
ink = static(u32)  # a pixel's value
is_shown = static(bool)  # nobody else has the screen
is_mapped = static(bool)  # through its own window


def screen_init() -> None:
    """Take the screen, unless the command line has a `console=` without `vga`. Context: boot."""
    global is_shown
    if not option_list_has(b"console", b"vga"):
        return
    assume_text()
    find_size()
    is_shown = columns != 0 and rows != 0
    fill(cells[0 : len(cells)], SPACE)
    redraw()


def assume_text() -> None:
    """Take a PC that was not started by UEFI to be in text mode, if the loader does not say."""
    screen = ref(boot_info.screen)
    if screen.kind == ScreenKind.NONE and boot_info.efi_system_table == 0:
        screen.kind = ScreenKind.TEXT
        screen.maddr = TEXT_SCREEN
        screen.pitch = TEXT_PITCH
        screen.width = TEXT_COLUMNS
        screen.height = TEXT_ROWS


def find_size() -> None:
    """Find how many characters fit on the screen, 0 on one that cannot be used."""
    global columns, rows, ink
    screen = ref(boot_info.screen)
    columns = 0
    rows = 0
    if screen.kind == ScreenKind.TEXT:
        if u64(screen.width) * 2 <= u64(screen.pitch):
            columns = min(u64(screen.width), MAX_COLUMNS)
            rows = min(u64(screen.height), MAX_ROWS)
    elif screen.kind == ScreenKind.PIXELS and screen.bits_per_pixel in (15, 16, 24, 32):
        if u64(screen.width) * pixel_bytes() <= u64(screen.pitch):
            columns = min(u64(screen.width) // GLYPH_WIDTH, MAX_COLUMNS)
            rows = min(u64(screen.height) // GLYPH_HEIGHT, MAX_ROWS)
        ink = shade(screen.red) | shade(screen.green) | shade(screen.blue)
    if screen_bytes() > MAX_BYTES:
        columns = 0


def pixel_bytes() -> u64:
    """Return how many bytes a pixel has."""
    return (u64(boot_info.screen.bits_per_pixel) + 7) // 8


def screen_bytes() -> u64:
    """Return how many bytes the screen has."""
    return u64(boot_info.screen.pitch) * u64(boot_info.screen.height)


def shade(colour: Colour) -> u32:
    """Return the bits of a colour in the pixels of letters."""
    if colour.size > 8 or colour.position > 24:
        return 0
    return u32(BRIGHTNESS) >> (8 - colour.size) << colour.position


def map_screen() -> None:
    """Give the screen its window in the core's tables. Context: boot, before they are in use."""
    global is_mapped
    if not is_shown:
        return
    first = boot_info.screen.maddr & ~PAGE_MASK
    size = (boot_info.screen.maddr - first + screen_bytes() + PAGE_MASK) & ~PAGE_MASK
    map_core_range(SCREEN_VIRT_START, first, size, CORE_DATA | PTE_CACHE_DISABLE)
    is_mapped = True


def screen_address() -> u64:
    """Return where the screen can be written now; 0 if nowhere."""
    screen = boot_info.screen.maddr
    if boot_info.phys_window != 0:
        return SCREEN_VIRT_START + (screen & PAGE_MASK) if is_mapped else u64(0)
    is_in_early_map = screen < EARLY_MAP_END and screen_bytes() <= EARLY_MAP_END - screen
    return screen if is_in_early_map else u64(0)


def redraw() -> None:
    """Draw every cell."""
    for y in range(rows):
        for x in range(columns):
            draw(x, y)


def screen_put(character: Tainted[u8]) -> None:
    """Show a character; what is none of ASCII's is a space. The caller holds console_lock, or is in
    a panic, and has looked at `is_shown`.
    """
    global column
    if character == NEWLINE:
        next_line()
    elif character == RETURN:
        column = 0
    else:
        if column == columns:
            next_line()
        show(column, row, character if SPACE <= character <= LAST_SHAPE else u8(SPACE))
        column += 1


def next_line() -> None:
    """Go to the start of the next line; at the bottom everything moves up."""
    global column, row
    column = 0
    if row + 1 < rows:
        row += 1
        return
    for y in range(rows):
        for x in range(columns):
            below = cells[(y + 1) * MAX_COLUMNS + x] if y + 1 < rows else u8(SPACE)
            show(x, y, below)


@inline
def show(x: u64, y: u64, character: u8) -> None:
    """Put a character into a cell, and draw it if that changes anything."""
    if cells[y * MAX_COLUMNS + x] != character:
        cells[y * MAX_COLUMNS + x] = character
        draw(x, y)


def draw(x: u64, y: u64) -> None:
    """Draw a cell, if the screen can be reached."""
    address = screen_address()
    if address == 0:
        return
    pitch = u64(boot_info.screen.pitch)
    if boot_info.screen.kind == ScreenKind.TEXT:
        place = Ptr[u16](address + y * pitch + x * 2)  # x and y are within the screen
        volatile_store(place, u16(TEXT_COLOUR << 8) | u16(cells[y * MAX_COLUMNS + x]))
        return
    corner = address + y * GLYPH_HEIGHT * pitch + x * GLYPH_WIDTH * pixel_bytes()
    shape = u64(cells[y * MAX_COLUMNS + x] - FIRST) * GLYPH_HEIGHT
    for line in range(GLYPH_HEIGHT):
        draw_line(corner + line * pitch, glyphs[shape + line])


def draw_line(address: u64, bits: u8) -> None:
    """Draw one line of a glyph, leftmost pixel first."""
    size = pixel_bytes()
    for i in range(GLYPH_WIDTH):
        draw_pixel(address + i * size, size, ink if bits >> (7 - i) & 1 != 0 else u32(0))


@inline
def draw_pixel(address: u64, size: u64, value: u32) -> None:
    """Write a pixel of 2, 3 or 4 bytes. It lies within the screen's window."""
    if size == 4:
        volatile_store(Ptr[u32](address), value)
        return
    volatile_store(Ptr[u16](address), u16(value & 0xFFFF))
    if size == 3:
        volatile_store(Ptr[u8](address + 2), u8(value >> 16 & 0xFF))


def screen_release() -> None:
    """Leave the screen to domain 0. Context: boot, last."""
    global is_shown
    is_shown = False


@cold
def screen_reclaim() -> None:
    """Take the screen back for the core's last words, whatever domain 0 shows there."""
    global is_shown, column, row
    if is_shown or not is_mapped:
        return
    is_shown = True
    column = 0
    row = 0
    fill(cells[0 : len(cells)], SPACE)
    redraw()
