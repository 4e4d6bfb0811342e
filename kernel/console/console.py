"""The machine's console: what the core and domain 0 print, kept in a ring, sent to COM1, and shown
on the screen until domain 0 has that.

`printk(f"…")` prints one whole line, marked "proxen: ", never torn apart by another processor's:
the pieces gather in a buffer of this processor first. The core is never interrupted while it does
so, but by an NMI, which uses `emergency_write`.
"""

from kpy import (
    Array,
    Ptr,
    Slice,
    Tainted,
    copy_slice,
    formatter,
    ref,
    static,
    struct,
    u8,
    u32,
    u64,
    uninitialized,
    wrapping_add,
)

from kernel.base.cmdline import option_list_has
from kernel.base.spinlock import SpinLock
from kernel.console import screen
from kernel.console.screen import NEWLINE, RETURN, screen_init, screen_put
from kernel.console.uart import uart_init, uart_put
from kernel.x86.percpu import NR_CPUS, this_cpu

RING_BYTES = 32768
LINE_BYTES = 512
PREFIX = b"proxen: "
DIGITS = b"0123456789abcdef"
MINUS = ord("-")
STYLE_PREFIX = 0x100
STYLE_ZERO = 0x200


@struct
class Line:
    text: Tainted[Array[u8, LINE_BYTES]]
    length: u64


lines = static(Array[Line, NR_CPUS])
console_lock = static(SpinLock)
ring = static(Tainted[Array[u8, RING_BYTES]])
ring_written = static(u64)  # bytes ever put into the ring
ring_cleared = static(u64)  # readers start here at the earliest
serial_enabled = static(bool)


def console_init() -> None:
    """Start COM1 and the screen, those that `console=` names, or both without one."""
    global serial_enabled
    serial_enabled = option_list_has(b"console", b"com1")
    if serial_enabled:
        uart_init()
    screen_init()


def put_char(character: Tainted[u8]) -> None:
    """Send one character to the ring, the serial line and the screen. The caller holds
    console_lock, or is in a panic.
    """
    global ring_written
    ring[ring_written % RING_BYTES] = character
    ring_written += 1
    if serial_enabled:
        if character == NEWLINE:
            uart_put(RETURN)
        uart_put(character)
    if screen.is_shown:
        screen_put(character)


def console_write(text: Slice[Tainted[u8]]) -> None:
    """Print bytes as they are."""
    with console_lock:
        emergency_write(text)


def emergency_write(text: Slice[Tainted[u8]]) -> None:
    """Print without taking the lock: for a panic, when its holder may be the one that failed."""
    for character in text:
        put_char(character)


def append(character: u8) -> None:
    """Add a character to this processor's line; what does not fit is dropped."""
    line = ref(lines[this_cpu().id])
    if line.length == 0:
        start_line(line)
    if line.length < LINE_BYTES - 1:
        line.text[line.length] = character
        line.length += 1


def start_line(line: Ptr[Line]) -> None:
    """Begin a line with the mark that tells the core's lines from a guest's."""
    copy_slice(line.text[0 : len(PREFIX)], PREFIX)
    line.length = len(PREFIX)


def write_str(text: Slice[u8]) -> None:
    """Part of printk: text between and inside braces."""
    for character in text:
        append(character)


def write_int(value: u64, negative: bool, style: u32) -> None:
    """Part of printk: a number; `style` as LANGUAGE.md says: base, width << 16, 0x100 for 0x, 0x200
    for zeros.
    """
    digits = uninitialized(Array[u8, 24])
    base = u64(style & 0xFF)
    count: u64 = 0
    while True:
        digits[count] = DIGITS[value % base]
        count += 1
        value //= base
        if value == 0:
            break
    write_number(digits[0:count], negative, style)


def write_number(digits: Slice[u8], negative: bool, style: u32) -> None:
    """Print digits, last one first, with sign, prefix and padding."""
    width = u64(style >> 16)
    used = u64(len(digits)) + u64(negative) + (2 if style & STYLE_PREFIX != 0 else 0)
    if style & STYLE_ZERO == 0:
        pad(b" ", width, used)
    if negative:
        append(MINUS)
    if style & STYLE_PREFIX != 0:
        write_str(b"0x")
    if style & STYLE_ZERO != 0:
        pad(b"0", width, used)
    for i in range(len(digits)):
        append(digits[len(digits) - 1 - i])


def pad(filler: Slice[u8], width: u64, used: u64) -> None:
    """Print `filler` until `used` reaches `width`."""
    while used < width:
        append(filler[0])
        used += 1


def end_line() -> None:
    """Part of printk: send the finished line."""
    line = ref(lines[this_cpu().id])
    line.text[line.length] = NEWLINE
    length = line.length + 1
    line.length = 0
    if this_cpu().in_nmi or console_lock.is_mine():
        emergency_write(line.text[0:length])
    else:
        console_write(line.text[0:length])


def end_partial_line() -> None:
    """Send what this processor has of a line that it will not finish."""
    if lines[this_cpu().id].length != 0:
        end_line()


@formatter(write_str, write_int, end_line)
def printk(text) -> None:
    """Print one line of the core's own."""


def console_read_ring(index: Tainted[u64], to: Slice[Tainted[u8]]) -> tuple[u64, Tainted[u64]]:
    """Copy kept output from position `index` on.

    Returns: the number of bytes copied, and the position after them.
    """
    with console_lock:
        oldest = ring_written - min(ring_written, RING_BYTES)
        start = max(index, max(oldest, ring_cleared))
        count = min(u64(len(to)), ring_written - min(start, ring_written))
        for i in range(count):
            to[i] = ring[wrapping_add(start, i) % RING_BYTES]
        return count, wrapping_add(start, count)


def console_ring_clear() -> None:
    """Forget the kept output."""
    global ring_cleared
    with console_lock:
        ring_cleared = ring_written
