"""A guest that does all it can to hurt others. It may harm only itself.

Options: `mode=random seed=N rounds=N` (or reckless, instructions) makes hypercalls with random
numbers and arguments; any other mode is one way to die, in tests/guests/kernels/deaths.py. What it
prints last is `hostile: survived`, if anything.
"""

import abi
from kpy import (
    Array,
    Ptr,
    cast,
    export,
    ref,
    static,
    struct,
    truncate,
    u8,
    u64,
    wrapping_add,
    wrapping_mul,
)

from libos.console import say
from libos.hypercall import hypercall
from libos.layout import PAGE_SHIFT, Pfn
from libos.memory import mfn_of
from libos.options import option, option_number
from libos.pages import alloc_pages
from libos.probe import probe_call
from libos.start_info import boot
from libos.text import same_text
from tests.guests.kernels.bad import HYPERVISOR, NO_FRAME, NON_CANONICAL, UNMAPPED
from tests.guests.kernels.deaths import die

NR_HYPERCALLS = 64
NR_COMMANDS = 100
ARGUMENT_WORDS = 512
SMALL = 40

random_state = static(u64)
arguments = static(u64)  # a page of random words, which arguments point to
successes = static(u64)


@struct
class Opcode:
    bytes: Array[u8, 8]
    length: u64


RETURN = 0xC3
NUMBER_OF_RSP = 4  # in the low bits of a ModRM byte
# By their first bytes: descriptor tables, system registers, MSRs, ports, flags, segments, software
# interrupts and system calls, state saving, and the prefix that asks the hypervisor to emulate.
# What would load rsp with anything is left out: a fault without a stack is an early death.
PRIVILEGED = (
    ("0f00", "0f01", "0f06", "0f08", "0f09", "0f20", "0f21", "0f22", "0f23", "0f30", "0f31")
    + ("0f32", "0f33", "0f34", "0f35", "0fa1", "0fa2", "0fa9", "0fae", "0fb4", "0fc7", "0f0b")
    + ("e4", "e5", "e6", "e7", "ec", "ed", "ee", "ef", "6c", "6d", "6e", "6f", "f36e", "f36c")
    + ("fa", "fb", "f4", "cc", "cd", "ce", "8e", "9d", "0f05", "0f0b78656e0fa2", "0f0b78656e0f01")
)
OPCODES = static(
    Array[Opcode, len(PRIVILEGED)],
    [{"bytes": list(bytes.fromhex(c)), "length": len(c) // 2} for c in PRIVILEGED],
)


def random() -> u64:
    """Knuth's MMIX generator; its upper bits are the good ones."""
    global random_state
    random_state = wrapping_add(
        wrapping_mul(random_state, 6364136223846793005), 1442695040888963407
    )
    return random_state >> 16


def random_below(limit: u64) -> u64:
    return random() % limit


def random_frame() -> u64:
    """A frame number: mostly our own, sometimes anybody's or nobody's."""
    match random_below(4):
        case 0:
            return random_below(1 << 20)
        case 1:
            return NO_FRAME
        case _:
            return u64(mfn_of(Pfn(random_below(boot().nr_pages))))


def random_word() -> u64:
    """Something that a hypercall might take seriously."""
    match random_below(10):
        case 0:
            return HYPERVISOR
        case 1:
            return NON_CANONICAL
        case 2:
            return UNMAPPED
        case 3:
            return random()
        case 4:
            return random_frame()
        case 5:
            return random_frame() << PAGE_SHIFT | random_below(128)
        case 6 | 7:
            return arguments + 8 * random_below(ARGUMENT_WORDS)
        case _:
            return random_below(SMALL)


def fill_arguments() -> None:
    page = Ptr[Array[u64, ARGUMENT_WORDS]](arguments)
    for i in range(ARGUMENT_WORDS):
        page[i] = random_word()


def is_left_out(number: u64, command: u64, reckless: bool) -> bool:
    """Whether a call only ends, stops or repeats things, or (unless reckless) moves our entries."""
    if number in (abi.__HYPERVISOR_iret, abi.__HYPERVISOR_multicall, abi.__HYPERVISOR_console_io):
        return True
    if number in (abi.__HYPERVISOR_sched_op, abi.__HYPERVISOR_sched_op_compat):
        return command != abi.SCHEDOP_yield
    if reckless:
        return False
    return number in (
        abi.__HYPERVISOR_set_trap_table,
        abi.__HYPERVISOR_set_callbacks,
        abi.__HYPERVISOR_callback_op,
        abi.__HYPERVISOR_set_gdt,
        abi.__HYPERVISOR_update_va_mapping,
    )


def random_call(reckless: bool) -> None:
    """One hypercall. The first argument is a command more often than anything else."""
    global successes
    number = random_below(NR_HYPERCALLS)
    command = random_below(NR_COMMANDS) if random_below(3) != 0 else random_word()
    if is_left_out(number, command, reckless):
        return
    result = hypercall(number, command, random_word(), random_word(), random_word(), random_word())
    if result >= 0:
        successes += 1


@export
def main() -> u64:
    global random_state, arguments
    mode = option(b"mode")
    say(f"hostile: mode {mode}")
    random_state = option_number(b"seed", 1)
    rounds = option_number(b"rounds", 20000)
    arguments = alloc_pages(1)
    reckless = same_text(mode, b"reckless")
    if reckless or same_text(mode, b"random"):
        for i in range(rounds):
            if i % 64 == 0:
                fill_arguments()
            random_call(reckless)
    elif same_text(mode, b"instructions"):
        random_instructions(rounds)
    else:
        die(mode)
        return 1
    say(f"hostile: survived, {successes} of {rounds} did something")
    return 0


def random_instructions(rounds: u64) -> None:
    """Run random instructions, mostly such as only a hypervisor may."""
    global successes
    code = cast(Array[u8, 16], Ptr[u8](alloc_pages(1)))
    for _ in range(rounds):
        put_instruction(code)
        if probe_call(u64(code)):
            successes += 1


def put_instruction(code: Ptr[Array[u8, 16]]) -> None:
    """An opcode with random bytes behind it, as its operands, and a return."""
    opcode = ref(OPCODES[random_below(len(OPCODES))])
    for i in range(16):
        code[i] = truncate(u8, random())
    for i in range(opcode.length):
        code[i] = opcode.bytes[i]
    if code[opcode.length] & 7 == NUMBER_OF_RSP:
        code[opcode.length] ^= 1
    for i in range(opcode.length + random_below(2), 16):
        code[i] = RETURN
