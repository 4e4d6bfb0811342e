"""What drives the model's processors (kernel Python): a guest's hypercall or trap, the passing of
time, and interrupts, which strike wherever a processor is in guest mode or asleep.
"""

from kpy import Ptr, i64, ref, truncate, trusted, u32, u64, wrapping_add

from kernel.entry.trap import SYSCALL_BYTES
from kernel.sched.place import can_run
from kernel.state.vcpu import Vcpu
from kernel.x86.apic import TIMER_VECTOR
from tests.model import processors
from tests.model.paging import IS_USER, transfer
from tests.model.processors import (
    ASLEEP,
    IN_GUEST,
    NR_MODEL_CPUS,
    OFF,
    SPINNING,
    Entry,
    continue_cpu,
    cpus,
    has_pending,
    set_pending,
)

PATIENCE = 10_000  # turns that processors may wait for each other
SYSCALL_AT = 0x401000  # where the guests' only `syscall` instruction is
NO_CPU = NR_MODEL_CPUS
MORE_THAN_A_SLICE_NS = 11_000_000
SLICES_TO_WAIT = 64

# How far a vCPU's hypercall has come
CALL_DONE = 0
CALL_STOPPED = 1  # the vCPU does not run any more; it goes on when it does
CALL_LEFT = 2  # the guest is somewhere else: in its event callback, or in user mode


def is_interruptible(number: u32) -> bool:
    """Say whether an interrupt waits that a processor would take now."""
    cpu = ref(cpus[number])
    return cpu.state in (IN_GUEST, ASLEEP) and has_pending(cpu)


def let_others_run(number: u32) -> bool:
    """Give every processor but one a turn that has something to do. Returns: whether any had."""
    did = False
    for other in range(u32(NR_MODEL_CPUS)):
        if other != number and (cpus[other].state == SPINNING or is_interruptible(other)):
            did = True
            cpus[other].entry = Entry.INTERRUPT
            continue_cpu(other)
    return did


def settle() -> None:
    """Continue processors until none spins and no interrupt waits."""
    turns = 0
    while let_others_run(NO_CPU):
        turns += 1
        assert turns < PATIENCE, "the processors wait for each other for ever"


def start_cpu(number: u32) -> None:
    """Switch a processor on."""
    assert cpus[number].state == OFF, "the processor runs already"
    continue_cpu(number)


def cpu_of(v: Ptr[Vcpu]) -> u32:
    """Return the processor on which a vCPU is in guest mode, NO_CPU if on none."""
    for number in range(u32(NR_MODEL_CPUS)):
        if cpus[number].state == IN_GUEST and cpus[number].vcpu == v:
            return number
    return NO_CPU


def pass_time(ns: u64) -> None:
    """Let time pass, and timers expire."""
    processors.clock += ns
    for number in range(u32(NR_MODEL_CPUS)):
        deadline = cpus[number].deadline_ns
        if deadline != 0 and deadline <= processors.clock:
            cpus[number].deadline_ns = 0
            set_pending(number, TIMER_VECTOR)
    settle()


def wait_for_cpu(v: Ptr[Vcpu]) -> u32:
    """Let time pass until a vCPU is in guest mode. Returns: where, or NO_CPU if it may not run."""
    slices = 0
    while cpu_of(v) == NO_CPU:
        if not can_run(v):
            return NO_CPU
        assert slices < SLICES_TO_WAIT, "a vCPU that could run gets no processor"
        pass_time(MORE_THAN_A_SLICE_NS)
        slices += 1
    return cpu_of(v)


def hypercall(v: Ptr[Vcpu], number: u64, a: u64, b: u64, c: u64, d: u64, e: u64) -> tuple[u32, i64]:
    """Let a vCPU that is in kernel mode make a hypercall. Returns: CALL_*, and what is in rax."""
    if wait_for_cpu(v) == NO_CPU:
        return CALL_STOPPED, 0
    v.regs.rip = SYSCALL_AT
    v.regs.rax = number
    v.regs.rdi = a
    v.regs.rsi = b
    v.regs.rdx = c
    v.regs.r10 = d
    v.regs.r8 = e
    outcome = execute_syscall(v)
    return outcome, trusted(truncate(i64, v.regs.rax))


def execute_syscall(v: Ptr[Vcpu]) -> u32:
    """Execute the `syscall` at a vCPU's rip, again and again until the guest is past it. Returns:
    CALL_*.
    """
    start = v.regs.rip
    behind = wrapping_add(start, SYSCALL_BYTES)
    while True:
        number = wait_for_cpu(v)
        if number == NO_CPU:
            return CALL_STOPPED
        v.regs.rip = behind
        cpus[number].entry = Entry.SYSCALL
        continue_cpu(number)
        settle()
        if v.regs.rip == behind:
            return CALL_DONE
        if v.regs.rip != start:
            return CALL_LEFT
        processors.nr_repeats += 1


def trap(v: Ptr[Vcpu], vector: u32, error_code: u32, cr2: u64) -> bool:
    """Let a vCPU in guest mode raise an exception. Returns: whether it was running."""
    number = wait_for_cpu(v)
    if number == NO_CPU:
        return False
    cpus[number].entry = Entry.TRAP
    cpus[number].trap_vector = vector
    cpus[number].cr2 = cr2
    v.regs.error_code = error_code
    continue_cpu(number)
    settle()
    return True


def guest_access(v: Ptr[Vcpu], address: u64, host: u64, size: u64, access: u32) -> u64:
    """Let a vCPU in guest mode read or write its memory itself: in ring 3, as all guests are.

    Returns: the bytes left over after a fault; all of them if it does not run.
    """
    number = wait_for_cpu(v)
    if number == NO_CPU:
        return size
    return access_from(number, address, host, size, access)


def access_from(number: u32, address: u64, host: u64, size: u64, access: u32) -> u64:
    """Do the same by the guest that a processor is in."""
    before = processors.executing
    processors.executing = number
    left = transfer(address, host, size, access | IS_USER)
    processors.executing = before
    return left
