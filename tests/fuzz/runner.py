"""What executes a fuzzer's program (kernel Python): a list of actions in the host's memory, one
after the other, without coming back to Python in between.

An action that its vCPU cannot do, because it is blocked or its domain is gone, is passed over. The
invariants of `audit` are checked every few actions, and at the end.
"""

from kpy import Array, Ptr, i64, load, ref, sizeof, static, struct, truncate, u16, u32, u64
from kpy.lower import switch_flag

from kernel.base.ids import DomId
from kernel.sched.place import can_run
from kernel.state.domain import find_domain
from kernel.state.vcpu import Vcpu
from tests.fuzz.audit import audit
from tests.model import processors, turns
from tests.model.drive import (
    CALL_DONE,
    MORE_THAN_A_SLICE_NS,
    NO_CPU,
    cpu_of,
    guest_access,
    hypercall,
    pass_time,
    settle,
    trap,
)
from tests.model.paging import IS_WRITE

MOST_ACTORS = 16
NR_REGISTERS = 15  # of vcpu.regs, from r15 to rdi
RIP, RSP = 15, 16
WORD = 8

HEAD_BYTES = 80

# What an action does, `Action.kind`
CALL = 0  # hypercall `number` with `args`
WRITE = 1  # the guest itself writes the data
READ = 2  # the guest itself reads a word at args[0]
TRAP = 3  # exception `number`, with error code args[0], cr2 args[1]
TIME = 4  # args[0] nanoseconds pass
REGISTER = 5  # register `number` becomes args[0]
RACE = 6  # the next `number` actions, each of another vCPU, are done at the same time
MOST_RACERS = 4
MOST_SLICES = 8  # that racers wait for each other
NR_RACE_STOPS = (
    4  # args[0] to args[3]: access | racer << 16 | who goes on << 24; args[4]: who begins
)


@struct
class Action:
    """The head of an action; its data follow."""

    size: u32  # of all of it, a multiple of 8
    kind: u32
    actor: u32
    data_size: u32
    data_at: u64  # where in the guest's memory its data go first
    number: u64
    args: Array[u64, 5]
    choices: u64  # the bits of `preempt_choices` while it lasts


assert sizeof(Action) == HEAD_BYTES


@struct
class Outcome:
    """What became of an action."""

    was_done: bool
    result: i64


@struct
class Actor:
    """A vCPU that acts."""

    domain_id: u32
    vcpu_id: u32


actors = static(Array[Actor, MOST_ACTORS])
nr_calls = static(u64)  # hypercalls that the core has answered, over all runs
nr_races = static(u64)
nr_stops_met = static(u64)
race_cpus = static(Array[u32, MOST_RACERS])  # the processors of the racers
position = static(u32)  # the action that is executed, or was last
outcomes = static(Ptr[Array[Outcome, 4096]] | None)  # where to note what became of each


def run(start: u64, size: u64, interval: u32) -> None:
    """Execute actions; audit after every `interval` of them."""
    global position
    position = 0
    at: u64 = start
    while at < start + size:
        action = Ptr[Action](at)
        assert u64(action.size) >= sizeof(Action), "no program"
        at += u64(action.size)
        if action.kind == RACE:
            at = race_actions(action, start + size)
        else:
            execute(action)
        processors.preempt_choices = 0
        position += 1
        if position % interval == 0 or action.kind == RACE:
            audit()
    audit()


def execute(action: Ptr[Action]) -> None:
    """Execute one action, if its vCPU can."""
    if action.kind == TIME:
        pass_time(action.args[0])
        return
    v = vcpu_of(action.actor)
    if v is None or not can_run(v):
        note(False, 0)
        return
    if action.data_size != 0:
        data = u64(action) + sizeof(Action)
        left = guest_access(v, action.data_at, data, u64(action.data_size), IS_WRITE)
        note(left == 0, 0)
        if action.kind == WRITE or not can_run(v):
            return
    processors.preempt_choices = action.choices
    match action.kind:
        case 0:
            call(v, action)
        case 2:
            word: u64 = 0
            note(guest_access(v, action.args[0], u64(ref(word)), WORD, 0) == 0, 0)
        case 3:
            note(trap(v, u32(action.number), truncate(u32, action.args[0]), action.args[1]), 0)
        case 5:
            set_register(v, action.number, action.args[0])
        case _:
            return


def vcpu_of(number: u32) -> Ptr[Vcpu] | None:
    """Return the vCPU of an actor, if its domain still exists."""
    actor = ref(actors[number])
    domain = find_domain(DomId(truncate(u16, actor.domain_id)))
    if domain is None:
        return None
    return domain.vcpus[actor.vcpu_id]


def call(v: Ptr[Vcpu], action: Ptr[Action]) -> None:
    """Make a hypercall."""
    global nr_calls
    args = ref(action.args)
    outcome, result = hypercall(v, action.number, args[0], args[1], args[2], args[3], args[4])
    nr_calls += 1
    note(outcome == CALL_DONE, result)


def set_register(v: Ptr[Vcpu], number: u64, value: u64) -> None:
    """Change a register as the guest's own instructions do."""
    if number == RIP:
        v.regs.rip = value
    elif number == RSP:
        v.regs.rsp = value
    elif number < NR_REGISTERS:
        registers = Ptr[Array[u64, NR_REGISTERS]](u64(ref(v.regs)))
        registers[number] = value


def race_actions(head: Ptr[Action], end: u64) -> u64:
    """Do the actions behind a head at the same time, each on the processor where its vCPU is.

    Returns: where the next action is.
    """
    turns.clear_race()
    gather(head, end)
    at: u64 = u64(head) + u64(head.size)
    count: u32 = 0
    for _ in range(min(head.number, MOST_RACERS)):
        if at >= end:
            break
        action = Ptr[Action](at)
        at += u64(action.size)
        if enter(action, count):
            count += 1
    if count > 1:
        plan_race(head, count)
        processors.preempt_choices = head.choices
        processors.nr_accesses = 0
        switch_flag.is_watched = 1
        turns.race(race_cpus[u32(head.args[4] % u64(count))])
        switch_flag.is_watched = 0
        settle()
        count_calls()
    return at


def gather(head: Ptr[Action], end: u64) -> None:
    """Let slices pass until all racers that can run have processors; not for long, though."""
    for _ in range(MOST_SLICES):
        at: u64 = u64(head) + u64(head.size)
        are_there = True
        for _ in range(min(head.number, MOST_RACERS)):
            if at < end:
                action = Ptr[Action](at)
                at += u64(action.size)
                v = vcpu_of(action.actor)
                if v is not None and can_run(v) and cpu_of(v) == NO_CPU:
                    are_there = False
        if are_there:
            return
        pass_time(MORE_THAN_A_SLICE_NS)


def enter(action: Ptr[Action], number: u32) -> bool:
    """Let an action take part in the race as a racer's only one, if its vCPU runs now."""
    v = vcpu_of(action.actor)
    if v is None or not can_run(v) or cpu_of(v) == NO_CPU:
        return False
    if turns.racers[cpu_of(v)].vcpu is not None:
        return False
    word: u64 = 0
    if action.data_size != 0:
        data = u64(action) + sizeof(Action)
        word = load(Ptr[u64](data))
        if action.kind == CALL:
            guest_access(v, action.data_at, data, u64(action.data_size), IS_WRITE)
    if not can_run(v) or cpu_of(v) == NO_CPU:
        return False
    cpu = turns.enter_race(v)
    race_cpus[number] = cpu
    args = ref(action.args)
    match action.kind:
        case 0:
            turns.add_step(
                cpu, turns.CALL, action.number, args[0], args[1], args[2], args[3], args[4]
            )
        case 1:
            turns.add_step(cpu, turns.WRITE, action.data_at, word, 0, 0, 0, 0)
        case 2:
            turns.add_step(cpu, turns.READ, args[0], 0, 0, 0, 0, 0)
        case _:
            return False
    return True


def plan_race(head: Ptr[Action], count: u32) -> None:
    """Read where racers stop, and who goes on then."""
    for i in range(NR_RACE_STOPS):
        stop = head.args[i]
        if stop & 0xFFFF != 0:
            racer, to = u32(stop >> 16 & 0xFF) % count, u32(stop >> 24 & 0xFF) % count
            turns.add_stop(race_cpus[racer], stop & 0xFFFF, race_cpus[to])


def count_calls() -> None:
    """Count the hypercalls of a race, and its stops."""
    global nr_calls, nr_races, nr_stops_met
    nr_races += 1
    for i in range(turns.nr_stops):
        stop = ref(turns.stops[i])
        if processors.cpus[stop.cpu].nr_accesses >= stop.at:
            nr_stops_met += 1
    for racer in turns.racers:
        if racer.nr_steps != 0 and racer.steps[0].kind == turns.CALL:
            nr_calls += u64(racer.position)


def note(was_done: bool, result: i64) -> None:
    """Keep what became of the present action, if anybody wants to know."""
    kept = outcomes
    if kept is not None and u64(position) < 4096:
        kept[position].was_done = was_done
        kept[position].result = result
