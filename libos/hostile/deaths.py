"""Ways to die, each leaving the hypervisor something else to clean up or to report."""

import abi
from kpy import Array, Ptr, Slice, asm, ref, static, store, u8, u64

from libos.console import say
from libos.grant import grant_access
from libos.hostile import ground
from libos.hypercall import sched_block, sched_shutdown, set_trap_table
from libos.memory import machine_address
from libos.pages import alloc_pages
from libos.start_info import boot
from libos.text import same_text

NOWHERE = 0x1000
ANY_RING = 3
TRAP_page_fault = 14
MMIO = 0xFEE0_0000  # the local APIC

traps = static(Array[abi.trap_info, 2])
context = static(Array[u64, 64])


@asm("mov rsp, 0x10\nint3", "", sideeffect=True)
def lose_the_stack() -> None: ...


@asm("ud2", "", sideeffect=True)
def undefined_instruction() -> None: ...


@asm("hlt", "", sideeffect=True)
def halt() -> None: ...


@asm("mov rsp, $0\nmov eax, 23\nsyscall", "r", sideeffect=True)
def iret_from(frame: u64) -> None: ...


def fault_without_handler() -> None:
    traps[0] = abi.trap_info(
        vector=TRAP_page_fault, flags=ANY_RING, cs=abi.FLAT_KERNEL_CS, address=NOWHERE
    )
    set_trap_table(u64(ref(traps)))
    store(Ptr[u64](NOWHERE), 1)


def leave_tables_pinned() -> None:
    ground.prepare()
    assert ground.extended_op(abi.MMUEXT_PIN_L1_TABLE, ground.frame_of(ground.table_page), 0) == 0
    sched_shutdown(abi.SHUTDOWN_crash)


def leave_grants_open() -> None:
    for _ in range(16):
        grant_access(0, alloc_pages(1), False)
    sched_shutdown(abi.SHUTDOWN_crash)


def tear_own_tables_down() -> None:
    """Clear every entry of the running level 4 table, one by one, as far as it goes."""
    ground.prepare()
    for slot in range(512):
        if slot < 256 or slot >= 272:
            ground.update_machine(machine_address(boot().pt_base) + 8 * slot, 0)
    sched_shutdown(abi.SHUTDOWN_crash)


def die(how: Slice[u8]) -> None:
    """Die in the way that is named. `spin` and `block` wait for the toolstack to do it."""
    say(f"dying: {how}")
    if same_text(how, b"fault"):
        fault_without_handler()
    elif same_text(how, b"stack"):
        lose_the_stack()
    elif same_text(how, b"undefined"):
        undefined_instruction()
    elif same_text(how, b"halt"):
        halt()
    elif same_text(how, b"iret"):
        iret_from(u64(ref(context)))
    elif same_text(how, b"tables"):
        tear_own_tables_down()
    elif same_text(how, b"pinned"):
        leave_tables_pinned()
    elif same_text(how, b"grants"):
        leave_grants_open()
    elif same_text(how, b"suspend"):
        sched_shutdown(abi.SHUTDOWN_suspend)
    elif same_text(how, b"block"):
        while True:
            sched_block()
    elif same_text(how, b"spin"):
        while True:
            pass
