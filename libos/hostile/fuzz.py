"""Hypercalls with random arguments, of which many nearly make sense: the same for the same seed.

What would end or derail this program by itself is left out; it may still hurt itself, and then it
is crashed with a reason.
"""

import abi
from kpy import Array, Ptr, static, store, u64, wrapping_add, wrapping_mul

from libos.console import say
from libos.hostile import ground
from libos.hypercall import hypercall
from libos.layout import PAGE_SHIFT, PAGE_SIZE
from libos.memory import ENTRIES, PTE_KERNEL, machine_address
from libos.pages import alloc_pages
from libos.start_info import boot

NR_CALLS = 20000
NR_HYPERCALLS = 64
MULTIPLIER, INCREMENT = 6364136223846793005, 1442695040888963407
LEFT_OUT = [
    abi.__HYPERVISOR_set_callbacks,
    abi.__HYPERVISOR_sched_op_compat,
    abi.__HYPERVISOR_sched_op,
    abi.__HYPERVISOR_iret,
    abi.__HYPERVISOR_callback_op,
    abi.__HYPERVISOR_set_trap_table,
    abi.__HYPERVISOR_nmi_op,
    abi.__HYPERVISOR_multicall,
]

is_left_out = static(Array[u64, NR_HYPERCALLS], [int(n in LEFT_OUT) for n in range(NR_HYPERCALLS)])
state = static(u64)
scratch = static(u64)


def random() -> u64:
    """The next 32 random bits."""
    global state
    state = wrapping_add(wrapping_mul(state, MULTIPLIER), INCREMENT)
    return state >> 32


def some_value() -> u64:
    """A number of a kind that hypercalls take: a small one, an address, a frame, an entry."""
    match random() % 16:
        case 0 | 1 | 2 | 3:
            return random() % 8
        case 4 | 5:
            return random() % 128
        case 6:
            return scratch + random() % PAGE_SIZE // 8 * 8
        case 7:
            return machine_address(scratch) >> PAGE_SHIFT
        case 8:
            return machine_address(boot().pt_base) >> PAGE_SHIFT
        case 9:
            return machine_address(scratch) | random() % 256
        case 10:
            return ground.foreign << PAGE_SHIFT | PTE_KERNEL
        case 11:
            return ground.CORE_ADDRESS + random() % PAGE_SIZE
        case 12:
            return abi.DOMID_SELF + random() % 8
        case 13:
            return (1 << 64) - 1 - random() % 16
        case 14:
            return random() << 32 | random()
        case _:
            return random()


def fuzz(seed: u64) -> None:
    global state, scratch
    state = seed
    ground.prepare()
    scratch = alloc_pages(1)
    for _ in range(NR_CALLS):
        number = random() % NR_HYPERCALLS
        if is_left_out[number] == 0:
            for _ in range(32):
                store(Ptr[u64](scratch + 8 * (random() % ENTRIES)), some_value())
            # The first argument is a command or a structure; a structure is likelier to be looked
            # at.
            first = scratch if random() % 2 == 0 else some_value()
            hypercall(number, first, some_argument(), some_value(), some_value(), some_value())
    say(f"fuzz done: {NR_CALLS} calls")


def some_argument() -> u64:
    return scratch if random() % 2 == 0 else some_value()
