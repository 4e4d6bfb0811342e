"""What executes a fuzzer's program (kernel Python): a list of actions in the host's memory, one
after the other, without coming back to Python in between.

An action that its vCPU cannot do, because it is blocked or its domain is gone, is passed over. The
invariants of `audit` are checked every few actions, and at the end.
"""

from kpy import Array, Ptr, i64, ref, sizeof, static, struct, truncate, u16, u32, u64

from kernel.base.ids import DomId
from kernel.sched.place import can_run
from kernel.state.domain import find_domain
from kernel.state.vcpu import Vcpu
from tests.fuzz.audit import audit
from tests.model import processors
from tests.model.drive import CALL_DONE, guest_access, hypercall, pass_time, trap
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
        execute(action)
        processors.preempt_choices = 0
        position += 1
        if position % interval == 0:
            audit()
        at += u64(action.size)
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


def note(was_done: bool, result: i64) -> None:
    """Keep what became of the present action, if anybody wants to know."""
    kept = outcomes
    if kept is not None and u64(position) < 4096:
        kept[position].was_done = was_done
        kept[position].result = result
