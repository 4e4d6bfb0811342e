"""Backtraces of the core: along the chain of frame pointers, which the compiler keeps in every
function, and printed with function, file and line.
"""

from kpy import Array, Ptr, Slice, cold, load, ref, u8, u64, uninitialized

from kernel.console.console import end_line, printk, write_int, write_str
from kernel.panic.symbols import file_of, find_source, name_of
from kernel.x86.percpu import AREA_BYTES, STACK_PAGES, Pcpu
from linetable.reader import Frames

MAX_FRAMES = 24
HEX_ADDRESS = 0x310 | 18 << 16  # `style` of write_int: 0x and 16 digits
HEX = 0x110
DECIMAL = 10


@cold
def collect_frames(
    cpu: Ptr[Pcpu], frame_pointer: u64, addresses: Ptr[Array[u64, MAX_FRAMES]]
) -> u64:
    """Follow frame pointers on one of a processor's stacks.

    Returns: how many return addresses were stored, the innermost first.
    """
    frame = frame_pointer
    count: u64 = 0
    while count < MAX_FRAMES and is_on_stack(cpu, frame):
        # On a page of a stack, so mapped; at worst the words are not what a frame holds.
        return_address = load(Ptr[u64](frame + 8))
        if return_address == 0:
            break
        addresses[count] = return_address
        count += 1
        frame = load(Ptr[u64](frame))
    return count


@cold
def is_on_stack(cpu: Ptr[Pcpu], frame: u64) -> bool:
    """Say whether the two words of a stack frame lie on a mapped page of a processor's stacks."""
    area = u64(cpu)
    if frame < area or frame > area + AREA_BYTES - 16 or frame % 16 != 0:
        return False
    return STACK_PAGES >> ((frame - area) // 4096) & 1 != 0


@cold
def print_frames(addresses: Slice[u64]) -> None:
    """Print callers, given their return addresses: the call is what lies before each."""
    for address in addresses:
        print_address(address, address - 1)


@cold
def print_address(address: u64, inside: u64) -> None:
    """Print an address of the core's code with its source, inlined calls first.

    Args: inside: an address within the instruction that is meant.
    """
    frames = uninitialized(Frames)
    if not find_source(inside, ref(frames)):
        printk(f"  {address:#018x}")
        return
    for i in reversed(range(frames.count)):
        place = ref(frames.places[i])
        start_address_line(address, name_of(place.routine))
        if i == 0:
            write_str(b"+")
            write_int(address - inside + frames.offset, False, HEX)
        else:
            write_str(b" (inlined)")
        if place.line != 0:
            write_str(b" ")
            write_str(file_of(place.routine))
            write_str(b":")
            write_int(place.line, False, DECIMAL)
        end_line()


@cold
def start_address_line(address: u64, name: Slice[u8]) -> None:
    write_str(b"  ")
    write_int(address, False, HEX_ADDRESS)
    write_str(b" ")
    write_str(name)
