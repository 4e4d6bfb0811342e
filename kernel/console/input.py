"""What is typed on the serial line: for domain 0, or, after Ctrl-A three times, for the core, which
takes each character as a debug key. Three more give the line back.

The typed characters wait in a ring until domain 0 fetches them.
"""

import abi
from kpy import Array, cold, i32, static, u8, u32, u64

from kernel.console.console import console_lock, printk
from kernel.console.uart import uart_get
from kernel.evtchn.virq import send_global_virq
from kernel.panic.debug_keys import handle_key

INPUT_BYTES = 1024
SWITCH = 0x01  # Ctrl-A
SWITCH_COUNT = 3

input_ring = static(Array[u8, INPUT_BYTES])
input_written = static(u64)
input_read = static(u64)
is_for_core = static(bool)
nr_switches = static(u32)  # Ctrl-A's in a row


def serve_console() -> None:
    """Take what was typed. Context: COM1's interrupt; no lock held."""
    got_any = False
    while True:
        there, character = next_typed()
        if not there:
            break
        if count_switch(character):
            switch_input()
        elif is_for_core:
            if character != SWITCH:
                handle_key(character)
        else:
            keep(character)
            got_any = True
    if got_any:
        send_global_virq(abi.VIRQ_CONSOLE)


def next_typed() -> tuple[bool, u8]:
    """Fetch a character from the line; the lock keeps other processors' output off the chip."""
    with console_lock:
        return uart_get()


def count_switch(character: u8) -> bool:
    """Say whether a character is the last of those that switch the line over."""
    global nr_switches
    nr_switches = nr_switches + 1 if character == SWITCH else 0
    if nr_switches < SWITCH_COUNT:
        return False
    nr_switches = 0
    return True


@cold
def switch_input() -> None:
    """Give the line to the core, or back."""
    global is_for_core
    is_for_core = not is_for_core
    if is_for_core:
        printk("the serial line is the core's now: h lists its keys, Ctrl-A three times ends this")
    else:
        printk("the serial line is domain 0's again")


def keep(character: u8) -> None:
    """Put a character into the ring; one that finds it full is lost."""
    global input_written
    with console_lock:
        if input_written - input_read < INPUT_BYTES:
            input_ring[input_written % INPUT_BYTES] = character
            input_written += 1


def console_getchar() -> i32:
    """Return the next typed character, or -1."""
    global input_read
    with console_lock:
        if input_read == input_written:
            return -1
        character = input_ring[input_read % INPUT_BYTES]
        input_read += 1
        return i32(character)
