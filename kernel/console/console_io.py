"""console_io: domain 0's own console, straight to and from the machine's serial line.

Other domains have a console ring served by the console daemon; only domain 0 may use this.
"""

import abi
from kpy import Array, Ptr, i64, ref, truncate, u8, u32, u64, uninitialized, wrapping_add

from kernel.base.guest_memory import copy_bytes_from_guest, copy_bytes_to_guest
from kernel.base.registry import hypercall
from kernel.console.console import console_write
from kernel.console.input import console_getchar
from kernel.state.continuation import hypercall_continue
from kernel.state.vcpu import Vcpu
from kernel.x86.preempt import preempt_pending

CHUNK_BYTES = 128


@hypercall(abi.__HYPERVISOR_console_io)
def do_console_io(vcpu: Ptr[Vcpu], command: u64, count: u64, buffer: u64, d: u64, e: u64) -> i64:
    """Write to or read from the machine's console.

    Hypercall: console_io(CONSOLEIO_write | CONSOLEIO_read, count, buffer: u8[count] in the guest).
    Returns: 0 for a write, the number of bytes for a read.
    Errors: -EPERM, not domain 0; -E2BIG, count above 2^31; -EFAULT, the buffer; -ENOSYS, another
    command.
    """
    if not vcpu.domain.is_privileged:
        return -abi.EPERM
    nr_bytes = truncate(u32, count)
    if nr_bytes >= 1 << 31:
        return -abi.E2BIG
    match truncate(u32, command):
        case abi.CONSOLEIO_write:
            return console_write_from_guest(vcpu, buffer, u64(nr_bytes))
        case abi.CONSOLEIO_read:
            return console_read_to_guest(buffer, u64(nr_bytes))
        case _:
            return -abi.ENOSYS


def console_write_from_guest(vcpu: Ptr[Vcpu], buffer: u64, count: u64) -> i64:
    """Print `count` bytes of guest memory: milliseconds for each chunk on a real serial line."""
    chunk = uninitialized(Array[u8, CHUNK_BYTES])
    done: u64 = 0
    while done < count:
        size = min(count - done, CHUNK_BYTES)
        if copy_bytes_from_guest(u64(ref(chunk)), wrapping_add(buffer, done), size) != 0:
            return -abi.EFAULT
        console_write(chunk[0:size])
        done += size
        if done < count and preempt_pending():
            rest = wrapping_add(buffer, done)
            return hypercall_continue(vcpu, abi.CONSOLEIO_write, count - done, rest, 0)
    return 0


def console_read_to_guest(buffer: u64, count: u64) -> i64:
    """Store the characters typed so far, `count` at most, in guest memory."""
    chunk = uninitialized(Array[u8, CHUNK_BYTES])
    filled: u64 = 0
    limit = min(count, CHUNK_BYTES)
    while filled < limit:
        character = console_getchar()
        if character < 0:
            break
        chunk[filled] = truncate(u8, character)
        filled += 1
    if copy_bytes_to_guest(buffer, u64(ref(chunk)), filled) != 0:
        return -abi.EFAULT
    return i64(filled)
