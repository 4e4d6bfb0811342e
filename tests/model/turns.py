"""Races (kernel Python): several processors each do a few steps, and a plan says where which of
them stops and who goes on.

A step is a hypercall, a page fault, or the guest's own access to a word of its memory. A stop is
one of the plan's: before its n-th access to shared memory (counted from the race's beginning) a
processor gives its turn to another. Everywhere else a processor goes on until it has done all its
steps, or waits for another one; then a processor gets the turn that has an interrupt to take, else
one with steps left, one that was stopped, one that waits. So a plan describes a run wholly.
"""

from kpy import Array, Ptr, Tainted, i64, ref, static, struct, truncate, trusted, u32, u64

from kernel.state.vcpu import Vcpu
from tests.model import processors
from tests.model.drive import (
    NO_CPU,
    PATIENCE,
    SYSCALL_AT,
    SYSCALL_BYTES,
    access_from,
    is_interruptible,
    wait_for_cpu,
)
from tests.model.paging import IS_WRITE
from tests.model.processors import (
    IN_GUEST,
    INTERRUPT_LOAD,
    NEVER_STOPS,
    NR_MODEL_CPUS,
    OWN_STEP,
    PENDING_BYTES,
    SPINNING,
    STOP,
    STOPPED,
    Entry,
    continue_cpu,
    cpus,
    has_pending,
    note_part,
    pending_of,
)

PAGE_FAULT = 14  # its vector
CODE_AT = 0xFFFFFFFF80008000  # of the guests' stack page: `mov [rdi], rax`, if a fault is to come
CODE_BYTES = 3
MOST_STEPS = 8
MOST_STOPS = 8

# What a step is
CALL = 0
READ = 1
WRITE = 2
FAULT = 3  # a page fault: in kernel mode, by the instruction that is at CODE_AT

# What a fault that was mended results in: the guest goes on behind the instruction, or tries again
EMULATED, AGAIN = 1, 2

NOT_DONE = 1 << 62  # the result of a step that the vCPU did not come to, or not back from


@struct
class Step:
    kind: u32
    number: u64  # of the hypercall, or the address
    arguments: Array[u64, 5]  # the first: the word that is written, or what is in rax; error code
    result: i64  # of the hypercall; the bytes left by a fault; EMULATED, AGAIN, or 0


@struct
class Racer:
    """What a processor does in the race."""

    vcpu: Ptr[Vcpu] | None  # None: it has no part
    steps: Array[Step, MOST_STEPS]
    nr_steps: u32
    end: u32  # of the steps that it may do in this run
    position: u32  # the step to do next, or in work
    rsp: Tainted[u64]  # of the vCPU between steps
    is_in_call: bool
    is_in_fault: bool
    is_repeated: bool  # the call in work came back with -ERESTART
    is_paused: bool  # before the guest's own access, which is counted


@struct
class Stop:
    at: u64  # the number of the access
    cpu: u32
    to: u32  # who goes on


racers = static(Array[Racer, NR_MODEL_CPUS])
stops = static(Array[Stop, MOST_STOPS])
nr_stops = static(u32)
word = static(u64)


def clear_race() -> None:
    """Forget who raced before, and the plan."""
    global nr_stops
    nr_stops = 0
    for racer in racers:
        racer.vcpu = None
        racer.nr_steps = 0
        racer.end = 0
        racer.position = 0


def enter_race(v: Ptr[Vcpu]) -> u32:
    """Let a vCPU take part, with no steps so far. Returns: the processor that it runs on."""
    number = wait_for_cpu(v)
    assert number != NO_CPU, "a vCPU that can't run takes part in no race"
    racer = ref(racers[number])
    racer.vcpu = v
    racer.rsp = v.regs.rsp
    racer.nr_steps = 0
    racer.position = 0
    racer.is_in_call = False
    racer.is_repeated = False
    racer.is_paused = False
    return number


def add_step(cpu: u32, kind: u32, number: u64, a: u64, b: u64, c: u64, d: u64, e: u64) -> None:
    """Add a step to what a processor does."""
    racer = ref(racers[cpu])
    racer.steps[racer.nr_steps] = Step(
        kind=kind, number=number, arguments=[a, b, c, d, e], result=NOT_DONE
    )
    racer.nr_steps += 1
    racer.end = racer.nr_steps


def add_stop(cpu: u32, at: u64, to: u32) -> None:
    """Let a processor stop before an access, and another go on."""
    global nr_stops
    stops[nr_stops] = Stop(at=at, cpu=cpu, to=to)
    nr_stops += 1


def race(first: u32) -> None:
    """Let all racers do their steps, by the plan. Context: the driver's stack."""
    for number in range(u32(NR_MODEL_CPUS)):
        cpus[number].nr_accesses = 0
        cpus[number].stop_at = next_stop(number)
    turns = 0
    current = first
    is_planned = True
    while current != NO_CPU:
        advance(current, is_planned)
        current, is_planned = who_is_next(current)
        turns += 1
        assert turns < PATIENCE, "the processors wait for each other for ever"


def do_one_step(number: u32) -> None:
    """Let one racer do its next step, and nobody else any. Context: the driver's stack."""
    for other in range(u32(NR_MODEL_CPUS)):
        racers[other].end = racers[other].position
    racers[number].end += 1
    race(number)


def skip_step(number: u32) -> None:
    """Leave a racer's next step out."""
    racers[number].position += 1


def next_stop(number: u32) -> u64:
    """Return the number of the access before which a processor stops next."""
    found: u64 = NEVER_STOPS
    for i in range(nr_stops):
        if stops[i].cpu == number and stops[i].at > cpus[number].nr_accesses:
            found = min(found, stops[i].at)
    return found


def advance(number: u32, is_planned: bool) -> None:
    """Let a processor go on: with what it was in, an interrupt, or its next step, which a plan may
    put before the interrupt.
    """
    cpu = ref(cpus[number])
    if cpu.state == STOPPED:
        cpu.stop_at = next_stop(number)
        continue_cpu(number)
    elif cpu.state == SPINNING:
        continue_cpu(number)
    elif has_step(number) and (is_planned or not is_interrupted(number)):
        begin_step(number)
    else:
        cpu.entry = Entry.INTERRUPT
        continue_cpu(number)
    if cpu.state == IN_GUEST and cpu.vcpu == racers[number].vcpu:
        end_call(ref(racers[number]))


def is_interrupted(number: u32) -> bool:
    """Say whether a processor in guest mode finds an interrupt to take."""
    note_own(number, INTERRUPT_LOAD, u64(pending_of(number)), PENDING_BYTES)
    return has_pending(ref(cpus[number]))


def has_step(number: u32) -> bool:
    """Say whether a processor is where it can begin its next step."""
    racer = ref(racers[number])
    return (
        racer.position < racer.end
        and not racer.is_in_call
        and not racer.is_in_fault
        and cpus[number].state == IN_GUEST
        and cpus[number].vcpu == racer.vcpu
    )


def begin_step(number: u32) -> None:
    """Begin a racer's next step; a guest's own access is done at once, or stopped before."""
    racer = ref(racers[number])
    step = ref(racer.steps[racer.position])
    v = racer.vcpu
    assert v is not None, "a processor without a part has a step"
    if step.kind == CALL:
        if not racer.is_repeated:
            set_arguments(v, step)
        v.regs.rip = SYSCALL_AT + SYSCALL_BYTES
        racer.is_in_call = True
        cpus[number].entry = Entry.SYSCALL
        continue_cpu(number)
    elif step.kind == FAULT:
        racer.is_in_fault = True
        begin_fault(number, v, step)
    elif not pauses(number):
        do_access(number, step)
        racer.position += 1


def pauses(number: u32) -> bool:
    """Count a guest's own access that is about to begin. Returns: whether it is stopped before."""
    racer = ref(racers[number])
    cpu = ref(cpus[number])
    if racer.is_paused:
        racer.is_paused = False
        return False
    cpu.nr_accesses += 1
    note_own(number, OWN_STEP, 0, 0)
    if cpu.nr_accesses != cpu.stop_at:
        return False
    note_own(number, STOP, 0, 0)
    cpu.stop_at = next_stop(number)
    racer.is_paused = True
    return True


def note_own(number: u32, site: u32, address: u64, size: u32) -> None:
    """Note what a processor does outside of the core."""
    before = processors.executing
    processors.executing = number
    note_part(site, address, size)
    processors.executing = before


def do_access(number: u32, step: Ptr[Step]) -> None:
    """Let a guest read or write a word of its memory."""
    global word
    word = step.arguments[0]
    access: u32 = IS_WRITE if step.kind == WRITE else 0
    step.result = i64(access_from(number, step.number, u64(ref(word)), 8, access))
    step.arguments[0] = word


def begin_fault(number: u32, v: Ptr[Vcpu], step: Ptr[Step]) -> None:
    """Let a guest's kernel meet a page fault as it stores rax where rdi points."""
    v.regs.rip = CODE_AT
    v.regs.rdi = step.number
    v.regs.rax = step.arguments[0]
    v.regs.error_code = truncate(u32, step.arguments[1])
    cpus[number].cr2 = step.number
    cpus[number].trap_vector = PAGE_FAULT
    cpus[number].entry = Entry.TRAP
    continue_cpu(number)


def end_fault(racer: Ptr[Racer], v: Ptr[Vcpu]) -> None:
    """Note whether the core mended a fault, or handed it to the guest's handler, which returns."""
    step = ref(racer.steps[racer.position])
    step.result = 0
    if v.regs.rip == CODE_AT + CODE_BYTES:
        step.result = EMULATED
    elif v.regs.rip == CODE_AT:
        step.result = AGAIN
    v.regs.rip = SYSCALL_AT
    v.regs.rsp = racer.rsp
    racer.is_in_fault = False
    racer.position += 1


def set_arguments(v: Ptr[Vcpu], step: Ptr[Step]) -> None:
    """Set a guest's registers for its hypercall."""
    v.regs.rax = step.number
    v.regs.rdi = step.arguments[0]
    v.regs.rsi = step.arguments[1]
    v.regs.rdx = step.arguments[2]
    v.regs.r10 = step.arguments[3]
    v.regs.r8 = step.arguments[4]


def end_call(racer: Ptr[Racer]) -> None:
    """Note how a hypercall or fault ended, if its vCPU is back in guest mode from one."""
    v = racer.vcpu
    if v is None:
        return
    if racer.is_in_fault:
        end_fault(racer, v)
    if not racer.is_in_call:
        return
    racer.is_in_call = False
    racer.is_repeated = v.regs.rip == SYSCALL_AT
    if racer.is_repeated:
        processors.nr_repeats += 1
        return
    step = ref(racer.steps[racer.position])
    step.result = trusted(truncate(i64, v.regs.rax))
    racer.position += 1
    if v.regs.rip != SYSCALL_AT + SYSCALL_BYTES:
        racer.end = racer.position  # in its event callback: nothing more of it


def who_is_next(number: u32) -> tuple[u32, bool]:
    """Return the processor that gets the turn after one gave it up, NO_CPU when all are done; and
    whether the plan says so.
    """
    if cpus[number].state == STOPPED or racers[number].is_paused:
        to = planned_successor(number)
        if to != number and kind_of(to) != KINDS:
            return to, True
    elif has_step(number):
        return number, False
    for kind in range(u32(KINDS)):
        for i in range(u32(1), u32(NR_MODEL_CPUS + 1)):
            other = (number + i) % NR_MODEL_CPUS
            if kind_of(other) == kind:
                return other, False
    return NO_CPU, False


# In which order processors get a turn that nobody planned; KINDS: not at all
IS_INTERRUPTED, BEGINS, IS_STOPPED, WAITS, KINDS = range(5)


def kind_of(number: u32) -> u32:
    """Return what a processor would do with the turn."""
    state = cpus[number].state
    if is_interruptible(number):
        return IS_INTERRUPTED
    if has_step(number):
        return BEGINS
    if state == STOPPED:
        return IS_STOPPED
    return WAITS if state == SPINNING else KINDS


def planned_successor(number: u32) -> u32:
    """Return who goes on after a processor's present stop."""
    for i in range(nr_stops):
        if stops[i].cpu == number and stops[i].at == cpus[number].nr_accesses:
            return stops[i].to
    return number
