"""Debug keys: one character that makes the core say what it is doing.

They come from the toolstack (`xm debug-keys`, XEN_SYSCTL_debug_keys) and from the serial line,
after Ctrl-A three times (kernel/console/input.py), which works when domain 0 hangs. The letters are
Xen's.
"""

from kpy import (
    Array,
    Fn,
    Guest,
    Ptr,
    Slice,
    Tainted,
    build_time,
    cold,
    panic,
    ref,
    static,
    struct,
    u8,
    u32,
    u64,
    wrapping_add,
)

from kernel.base.guest_memory import copy_from_guest
from kernel.base.ids import DomId
from kernel.console.console import printk
from kernel.frames.allocation import free_frames
from kernel.panic.cpu_state import report_from_here
from kernel.sched.place import cpu_scheds
from kernel.sched.queue import run_queue
from kernel.state.domain import Domain, first_domain_from
from kernel.state.frame_table import total_frames
from kernel.state.vcpu import Vcpu
from kernel.x86.cpu import pause
from kernel.x86.percpu import nr_cpus
from kernel.x86.power import machine_restart
from kernel.x86.tsc import system_time_ns

NR_KEYS = 128
HANG_NS = 25_000_000_000
MOST_KEYS = 64  # of one request, during which the processor takes no interrupts

handlers = {}  # by character: the function, and what it does in a few words


@struct
class DebugKey:
    act: Fn[[], None] | None
    purpose: Slice[u8]


@build_time
def debug_key(character, purpose):
    """Return a decorator that makes a function the handler of a key."""

    def decorate(function):
        assert character not in handlers, f"two handlers for key {character}"
        handlers[character] = {"act": function, "purpose": purpose}
        return function

    return decorate


@build_time
def key_table():
    """Return the handlers by character code."""
    nothing = {"act": None, "purpose": b""}
    return [handlers.get(chr(code), nothing) for code in range(NR_KEYS)]


keys = static(Array[DebugKey, NR_KEYS], key_table)


@cold
def handle_key(character: Tainted[u8]) -> None:
    """Do what a key stands for. Context: no lock held."""
    if character < NR_KEYS:
        key = ref(keys[character])
        act = key.act
        if act is not None:
            printk(f"key {key_text(character)}: {key.purpose}")
            act()
            return
    printk(f"no debug key has code {character}; h lists them all")


@cold
def key_text(character: u8) -> Slice[u8]:
    """Return a key as text of one character."""
    return KEY_CHARACTERS[u64(character) : u64(character) + 1]


KEY_CHARACTERS = bytes(range(NR_KEYS))


@debug_key("h", b"list the keys")
@cold
def list_keys() -> None:
    for code in range(u8(NR_KEYS)):
        if keys[code].act is not None:
            printk(f"  {key_text(code)}  {keys[code].purpose}")


@debug_key("d", b"what every processor is doing")
@cold
def dump_cpus() -> None:
    report_from_here()


@debug_key("W", b"hang this processor for 25 s, to see the watchdog's report")
@cold
def hang() -> None:
    start = system_time_ns()
    while system_time_ns() - start < HANG_NS:
        pause()


@debug_key("q", b"domains and their vCPUs")
@cold
def dump_domains() -> None:
    following = DomId(0)
    while True:
        with first_domain_from(following) as domain:
            if domain is None:
                break
            dump_domain(domain)
            following = DomId(wrapping_add(domain.domain_id, 1))


@cold
def dump_domain(d: Ptr[Domain]) -> None:
    """Print one domain. Taken without locks: a snapshot of things that go on changing."""
    printk(
        f"d{d.domain_id}: {d.tot_pages} of {d.max_pages} pages, pauses {d.pause_count}, "
        f"references {d.refcount}, dying {d.is_dying}, shutdown code {d.shutdown_code:#x}"
    )
    for i in range(d.max_vcpus):
        v = d.vcpus[i]
        if v is not None:
            dump_vcpu(v)


@cold
def dump_vcpu(v: Ptr[Vcpu]) -> None:
    """Print one vCPU; what its registers hold is old news while it runs."""
    info = v.vcpu_info
    doing = "runs" if v.is_running else "is queued" if v.sched.is_queued else "waits"
    printk(
        f"  v{v.vcpu_id} {doing} on cpu {v.processor}, pause flags {v.pause_flags:#x}, "
        f"pauses {v.pause_count}, rip {v.regs.rip:#x}, events pending "
        f"{info.evtchn_upcall_pending} masked {info.evtchn_upcall_mask}, "
        f"poll port {v.poll_port}"
    )


@debug_key("r", b"run queue")
@cold
def dump_run_queue() -> None:
    with run_queue.lock:
        printk(
            f"now {system_time_ns()} ns, virtual time {run_queue.virtual_time} ns, "
            f"idle cpus {run_queue.idle_cpus:#x}, {run_queue.nr_queued} wait:"
        )
        v = run_queue.first
        while v is not None:
            dump_share(v)
            v = v.sched.next
        for cpu in range(nr_cpus):
            running = cpu_scheds[cpu].running
            if running is not None:
                printk(f"  cpu {cpu} runs")
                dump_share(running)


@cold
def dump_share(v: Ptr[Vcpu]) -> None:
    """Print what a vCPU got so far."""
    printk(
        f"    d{v.domain.domain_id}v{v.vcpu_id} virtual runtime {v.sched.virtual_runtime} ns, "
        f"weight {v.domain.sched_weight}, allowed cpus {v.sched.affinity:#x}"
    )


@debug_key("m", b"memory")
@cold
def dump_memory() -> None:
    printk(f"{free_frames()} of {total_frames()} frames are free")


@debug_key("C", b"crash the core, to see its report")
@cold
def crash_core() -> None:
    panic("somebody pressed the debug key C")


@debug_key("R", b"restart the machine at once")
@cold
def restart() -> None:
    machine_restart()


@cold
def handle_keys_from_guest(keys: Guest[u8], count: u32) -> bool:
    """Handle keys that the toolstack sends. Returns: False when they cannot be read."""
    for i in range(count):
        character: Tainted[u8] = 0
        if not copy_from_guest(ref(character), keys.index(u64(i))):
            return False
        handle_key(character)
    return True
