"""COM1, a 16550: polled output, input by interrupt.

Source: National Semiconductor PC16550D data sheet.
"""

from kpy import Tainted, static, trusted, u8, u32

from kernel.x86.cpu import in8, out8, pause

COM1_PORT = 0x3F8
COM1_IRQ = 4

DATA = 0  # transmit and receive; divisor low byte while LCR_DLAB
INTERRUPT_ENABLE = 1  # divisor high byte while LCR_DLAB
FIFO_CONTROL = 2
LINE_CONTROL = 3
MODEM_CONTROL = 4
LINE_STATUS = 5

LCR_8N1 = 0x03
LCR_DLAB = 0x80
LSR_DATA_READY = 0x01
LSR_THR_EMPTY = 0x20
MCR_DTR_RTS_OUT2 = 0x0B
SPIN_LIMIT = 100_000

is_present = static(bool)


def uart_init() -> None:
    """Program COM1 for 115200 baud, 8N1; without a chip there, stay silent."""
    global is_present
    out8(COM1_PORT + LINE_CONTROL, LCR_DLAB)
    out8(COM1_PORT + DATA, 1)
    out8(COM1_PORT + INTERRUPT_ENABLE, 0)
    out8(COM1_PORT + LINE_CONTROL, LCR_8N1)
    out8(COM1_PORT + FIFO_CONTROL, 0x07)
    out8(COM1_PORT + MODEM_CONTROL, MCR_DTR_RTS_OUT2)
    is_present = in8(COM1_PORT + LINE_CONTROL) == LCR_8N1


def uart_put(character: Tainted[u8]) -> None:
    """Send one byte as soon as the chip takes it; a stuck chip loses bytes instead of hanging the
    core.
    """
    if not is_present:
        return
    patience: u32 = SPIN_LIMIT
    while in8(COM1_PORT + LINE_STATUS) & LSR_THR_EMPTY == 0:
        patience -= 1
        if patience == 0:
            return
        pause()
    out8(COM1_PORT + DATA, trusted(character))  # any byte can be sent


def uart_get() -> tuple[bool, u8]:
    """Return the next received byte, if there is one."""
    if not is_present or in8(COM1_PORT + LINE_STATUS) & LSR_DATA_READY == 0:
        return False, 0
    return True, in8(COM1_PORT + DATA)


def uart_enable_receive_interrupt() -> None:
    """Raise COM1_IRQ for each received byte."""
    if is_present:
        out8(COM1_PORT + INTERRUPT_ENABLE, 1)
