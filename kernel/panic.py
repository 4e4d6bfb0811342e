"""The end: what happened, where, and how it came to that, on the console; then every processor
stops.

A panic is always a bug of the core or broken hardware: nothing a guest does leads here. The
backtrace follows the chain of frame pointers, which the compiler keeps in every function, as far as
it stays on this processor's stack.
"""

from kpy import Never, Ptr, Slice, cold, export, load, static, u8, u32, u64

from kernel.cmdline import has_option
from kernel.console import end_line, printk, write_int, write_str
from kernel.symbols import find_symbol
from kernel.x86.cpu import halt_forever, read_rbp
from kernel.x86.percpu import AREA_BYTES, this_cpu
from kernel.x86.reset import reboot, stop_other_cpus

MAX_FRAMES = 24

is_panicking = static(bool)


@export
@cold
def kpy_panic(file: Slice[u8], line: u32, text: Slice[u8]) -> Never:
    """Report a failed check; the compiler calls this for assertions, bounds, overflow, `panic`."""
    begin_panic()
    printk(f"panic: {text}")
    printk(f"  at {file}:{line}, cpu {this_cpu().id}")
    backtrace(read_rbp())
    end_panic()


@cold
def begin_panic() -> None:
    """Stop the other processors; a panic inside a panic just stops."""
    global is_panicking
    if is_panicking:
        halt_forever()
    is_panicking = True
    this_cpu().in_nmi = True  # printk takes no locks from here on
    stop_other_cpus()


@cold
def end_panic() -> Never:
    """Reboot or stop, as `reboot-on-panic` says: by default somebody should read the console."""
    printk("the core has stopped.")
    if has_option(b"reboot-on-panic"):
        reboot()
    halt_forever()


@cold
def backtrace(frame_pointer: u64) -> None:
    """Print the callers, innermost first."""
    area = u64(this_cpu())
    frame = frame_pointer
    for _ in range(MAX_FRAMES):
        if frame < area or frame > area + AREA_BYTES - 16 or frame % 8 != 0:
            return
        # Inside this processor's stack area, so mapped; at worst the words are not what a frame
        # holds.
        return_address = load(Ptr[u64](frame + 8))
        if return_address == 0:
            return
        print_address(return_address)
        frame = load(Ptr[u64](frame))


@cold
def print_address(address: u64) -> None:
    """Print an address of the core's code with the function it is in."""
    found, name, offset = find_symbol(address)
    write_str(b"  ")
    write_int(address, False, 0x110)
    if found:
        write_str(b" ")
        write_str(name)
        write_str(b"+")
        write_int(offset, False, 0x110)
    end_line()
