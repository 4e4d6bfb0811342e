"""console_io: domain 0's own console, straight to and from the machine's serial line.

Other domains have a console ring served by the console daemon; only domain 0 may use this.
"""

import abi
from kpy import Array, Guest, Ptr, Tainted, i64, require, truncate, u8, u32, u64, uninitialized

from kernel.base.guest_memory import copy_slice_from_guest, copy_slice_to_guest
from kernel.base.registry import hypercall
from kernel.console.console import console_write
from kernel.console.input import console_getchar
from kernel.state.continuation import hypercall_continue
from kernel.state.vcpu import Vcpu
from kernel.x86.preempt import preempt_pending

CHUNK_BYTES = 128


@hypercall(abi.__HYPERVISOR_console_io)
def do_console_io(
    vcpu: Ptr[Vcpu], command: Tainted[u32], count: Tainted[u32], buffer: Guest[u8]
) -> i64:
    """Write to or read from the machine's console.

    Hypercall: console_io(CONSOLEIO_write | CONSOLEIO_read, count, buffer: u8[count] in the guest).
    Returns: 0 for a write, the number of bytes for a read.
    Errors: -EPERM, not domain 0; -E2BIG, count above 2^31; -EFAULT, the buffer; -ENOSYS, another
    command.
    """
    require(vcpu.domain.is_privileged, -abi.EPERM)
    require(count < 1 << 31, -abi.E2BIG)
    match command:
        case abi.CONSOLEIO_write:
            return console_write_from_guest(vcpu, buffer, u64(count))
        case abi.CONSOLEIO_read:
            return console_read_to_guest(buffer, u64(count))
        case _:
            return -abi.ENOSYS


def console_write_from_guest(vcpu: Ptr[Vcpu], buffer: Guest[u8], count: u64) -> i64:
    """Print `count` bytes of guest memory: milliseconds for each chunk on a real serial line."""
    chunk = uninitialized(Tainted[Array[u8, CHUNK_BYTES]])
    done: u64 = 0
    while done < count:
        part = chunk[0 : min(count - done, CHUNK_BYTES)]
        require(copy_slice_from_guest(part, buffer.index(done)), -abi.EFAULT)
        console_write(part)
        done += len(part)
        if done < count and preempt_pending():
            rest = buffer.index(done).address()
            return hypercall_continue(vcpu, abi.CONSOLEIO_write, count - done, rest, 0)
    return 0


def console_read_to_guest(buffer: Guest[u8], count: u64) -> i64:
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
    require(copy_slice_to_guest(buffer, chunk[0:filled]), -abi.EFAULT)
    return i64(filled)
