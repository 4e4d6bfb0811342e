"""The model's processors (kernel Python): each has a stack of its own, on which the core runs just
as on the machine.

A processor gives the host's thread up in three places: in guest mode, asleep (`hlt`), and where the
core spins (`pause`) until another processor has done something. Whoever drives the model
(tests/model/drive.py) then continues it, or another one. So interrupts strike exactly where they
can strike on the machine, two processors can wait for each other, and everything is repeatable.

While the program is watched (kpy.lower.switch_points), a processor also stops before any access to
memory that others may see, if its `stop_at` says so.
"""

from kpy import (
    Array,
    Never,
    Ptr,
    asm,
    bit,
    export,
    noinline,
    ref,
    static,
    struct,
    u32,
    u64,
)
from kpy.lower import switch_flag

from kernel.main import run_guests
from kernel.state.vcpu import Vcpu
from kernel.x86.smp import init_this_cpu, wait_for_release

NR_MODEL_CPUS = 4
STACK_BYTES = 1 << 18
NR_TRANSLATIONS = 32
NR_UPPER_ENTRIES = 12

# Where a processor is, `Cpu.state`
OFF = 0
IN_GUEST = 1
ASLEEP = 2
SPINNING = 3
STOPPED = 4  # before an access to memory

# Sites of accesses by the model's own code: what it does in place of the core's instructions, or of
# a processor
FIRST_MODEL_SITE = 0xFFFFFFF0
GUEST_READ = FIRST_MODEL_SITE  # copies of guest memory, by the core or the guest
GUEST_WRITE = FIRST_MODEL_SITE + 1
WALK_LOAD = FIRST_MODEL_SITE + 2  # of an entry of a page table
WALK_STORE = FIRST_MODEL_SITE + 3  # of its accessed and dirty bits
CHECK_LOAD = FIRST_MODEL_SITE + 4  # of a frame's type: whether the access is a hole
INTERRUPT = FIRST_MODEL_SITE + 5  # a processor interrupts another …
INTERRUPT_LOAD = FIRST_MODEL_SITE + 6  # … which looks whether it is
OWN_STEP = FIRST_MODEL_SITE + 7  # of a guest, as a whole
STOP = FIRST_MODEL_SITE + 8  # no access: a planned stop
PENDING_BYTES = 32  # of Cpu.pending
NEVER_STOPS = (1 << 64) - 1
MOST_ACCESSES = 1 << 16  # that are noted of all processors together


class Entry:
    """What ends a processor's time in guest mode, `Cpu.entry`."""

    INTERRUPT, SYSCALL, TRAP = 0, 1, 2


@struct
class Translation:
    """An entry of a processor's TLB."""

    page: u64  # virtual address >> 12
    frame: u64
    is_valid: bool
    is_writable: bool
    is_user: bool


@struct
class UpperEntry:
    """An entry of a processor's paging-structure caches: an L4, L3 or L2 entry, with the rights
    that it and those above it give.
    """

    part: u64  # of virtual addresses, those bits above the ones that the table below translates
    table: u64  # frame of the table that the entry leads to
    level: u32  # of that table
    is_valid: bool
    is_writable: bool
    is_user: bool


@struct
class Cpu:
    rsp: u64  # of its stack, while it does not execute
    state: u32
    entry: u32
    trap_vector: u32
    vcpu: Ptr[Vcpu]  # which runs in guest mode
    cr0: u64
    cr2: u64
    cr3: u64
    cr4: u64
    selectors: Array[u32, 4]  # ds, es, fs, gs
    pending: Array[u64, 4]  # a bit for each vector that waits for delivery
    deadline_ns: u64  # of its timer, 0: not armed
    tlb: Array[Translation, NR_TRANSLATIONS]
    tlb_next: u32
    upper: Array[UpperEntry, NR_UPPER_ENTRIES]
    upper_next: u32
    nr_accesses: u64  # to shared memory, while the program is watched
    stop_at: u64  # the number of the access before which it stops


@struct
class Access:
    """An access to shared memory that a processor was about to make, or what belongs to it."""

    address: u64
    number: u32  # of the processor's accesses before which it can stop
    site: u32
    cpu: u32
    size: u32  # bytes, if the site does not tell


cpus = static(Array[Cpu, NR_MODEL_CPUS])
stacks = static(u64)  # address of the processors' stacks, one after the other
executing = static(u32)  # the processor whose registers are seen
is_on_cpu_stack = static(bool)
driver_rsp = static(u64)
secret = static(u64)  # a frame that no guest may ever reach; 0: none is named
clock = static(u64, 1_000_000_000)  # time-stamp counter: one tick a nanosecond
preempt_choices = static(u64)  # a bit for each coming look for urgent work: is there any?
accesses = static(Array[Access, MOST_ACCESSES])
nr_accesses = static(u32)
bus_answer = static(u32, 0xFFFFFFFF)  # what every 32-bit port reads as: no device at all
nr_eois = static(u64)  # interrupts that the core said it had served
nr_repeats = static(u64)  # times that a hypercall was made again after -ERESTART


@asm(
    "push rbp\npush rbx\npush r12\npush r13\npush r14\npush r15\npush rdi\npush rsi\npush rdx\n"
    "mov [rdi], rsp\nmov rsp, rsi\ntest rdx, rdx\nje .Lresumed${:uid}\ncall rdx\n"
    ".Lresumed${:uid}:\n"
    "pop rdx\npop rsi\npop rdi\npop r15\npop r14\npop r13\npop r12\npop rbx\npop rbp",
    "{rdi},{rsi},{rdx},~{rax},~{rcx},~{r8},~{r9},~{r10},~{r11},~{flags},~{memory}",
)
def exchange_stacks(save_rsp_at: u64, rsp: u64, function: u64) -> None: ...


@noinline
def switch_stack(save_rsp_at: Ptr[u64], rsp: u64, function: u64) -> None:
    """Continue on another stack where it left off, or with a function on an empty one. Returns when
    somebody comes back to this one.
    """
    exchange_stacks(u64(save_rsp_at), rsp, function)


def this_model_cpu() -> Ptr[Cpu]:
    """Return the processor that executes."""
    return ref(cpus[executing])


def continue_cpu(number: u32) -> None:
    """Let a processor execute until it gives up. Context: the driver's stack."""
    global executing, is_on_cpu_stack
    before = executing
    executing = number
    is_on_cpu_stack = True
    cpu = ref(cpus[number])
    if cpu.state == OFF:
        top = stacks + (u64(number) + 1) * STACK_BYTES
        start = u64(start_first_cpu) if number == 0 else u64(start_other_cpu)
        switch_stack(ref(driver_rsp), top, start)
    else:
        switch_stack(ref(driver_rsp), cpu.rsp, 0)
    is_on_cpu_stack = False
    executing = before


def give_up(state: u32) -> None:
    """Stop executing until somebody continues this processor. Context: its own stack."""
    cpu = this_model_cpu()
    cpu.state = state
    switch_stack(ref(cpu.rsp), driver_rsp, 0)


def before_access(site: u32, address: u64) -> None:
    """Note an access to shared memory, and stop before it if that is planned. Context: compiled
    code calls it while it is watched.
    """
    if is_on_cpu_stack and not stacks <= address < stacks + NR_MODEL_CPUS * STACK_BYTES:
        pass_access(site, address, 0)


def before_model_access(site: u32, address: u64, size: u32) -> None:
    """Do the same where the model acts in place of the core. A guest's own step is one access, of
    which these are parts.
    """
    if switch_flag.is_watched != 0:
        if is_on_cpu_stack:
            pass_access(site, address, size)
        else:
            note_access(site, address, size)


def note_part(site: u32, address: u64, size: u32) -> None:
    """Note what belongs to the access before, with no stop in between."""
    if switch_flag.is_watched != 0:
        note_access(site, address, size)


def pass_access(site: u32, address: u64, size: u32) -> None:
    """Note an access, and stop before it if that is planned."""
    cpu = this_model_cpu()
    cpu.nr_accesses += 1
    note_access(site, address, size)
    if cpu.nr_accesses == cpu.stop_at:
        note_access(STOP, 0, 0)
        give_up(STOPPED)


def note_access(site: u32, address: u64, size: u32) -> None:
    """Put an access by the processor that executes into the log."""
    global nr_accesses
    if nr_accesses < MOST_ACCESSES:
        number = u32(this_model_cpu().nr_accesses)
        accesses[nr_accesses] = Access(
            address=address, number=number, site=site, cpu=executing, size=size
        )
        nr_accesses += 1


@export("model_start_first_cpu")
def start_first_cpu() -> Never:
    """What `start_core` ends with."""
    run_guests()


@export("model_start_other_cpu")
def start_other_cpu() -> Never:
    """What `start_ap` does."""
    init_this_cpu()
    wait_for_release()
    run_guests()


def forget_upper_entries(cpu: Ptr[Cpu]) -> None:
    """Empty a processor's paging-structure caches."""
    for entry in cpu.upper:
        entry.is_valid = False


def pending_of(number: u32) -> Ptr[Array[u64, 4]]:
    """Return where the interrupts are that wait for a processor."""
    return ref(cpus[number].pending)


def set_pending(number: u32, vector: u32) -> None:
    """Let an interrupt wait for delivery to a processor."""
    cpus[number].pending[vector // 64] |= bit(u64(vector) % 64)


def highest_pending(cpu: Ptr[Cpu]) -> u32:
    """Return the highest vector that waits, 0 if none does."""
    for vector in reversed(range(u32(16), u32(256))):
        if cpu.pending[vector // 64] & bit(u64(vector) % 64) != 0:
            return vector
    return 0


def has_pending(cpu: Ptr[Cpu]) -> bool:
    """Say whether any vector waits."""
    return cpu.pending[0] | cpu.pending[1] | cpu.pending[2] | cpu.pending[3] != 0


def take_pending(cpu: Ptr[Cpu]) -> u32:
    """Take the highest vector for delivery."""
    vector = highest_pending(cpu)
    cpu.pending[vector // 64] &= ~bit(u64(vector) % 64)
    return vector
