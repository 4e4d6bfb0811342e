"""The whole core in this process: a machine with frames, processors and guests, which make real
hypercalls.

    machine = Machine()                       # compiles the core: use the fixture `machine`
    guest = machine.guests[1]                 # machine.dom0, and two unprivileged ones
    result = guest.call(abi.__HYPERVISOR_sched_op, abi.SCHEDOP_yield)
    op = guest.put(abi.evtchn_send, port=3)   # a structure in the guest's memory: its address
    result = guest.call(abi.__HYPERVISOR_event_channel_op, abi.EVTCHNOP_send, op)
    guest.get(abi.evtchn_send, op).port       # and what is there now
    machine.start_over()                      # back to dom0 and two guests: half a millisecond

Only functions of kernel/x86 and assembly are replaced (tests/model/instructions.py, paging.py).
Everything else is the core as it runs: `call` sets the guest's registers, and its processor enters
`syscall_from_guest`; the core returns through its scheduler to whatever it wants to run; a
hypercall that returned -ERESTART is made again by the guest, as its `syscall` instruction would.
Guest memory is reached through the guest's own page tables and a TLB. dom0 builds the guests by
domctl, memory_op and mmuext_op as a toolstack does.

* `machine.preempt(bits)` lets the next looks for urgent work find some: lowest bit first.
* `machine.pass_time(ns)` expires timers. Interrupts between processors arrive at once.
* `machine["kernel.sched.schedule.run_queue"]` is any function or static of the core.
* `machine.frame(mfn)`, `machine.memory.page(mfn)` (512 words), `machine.alive()` (Domain views),
  `invariants.check(machine)`.
* A `KpyPanic` leaves the machine broken: `start_over` mends it.
"""

from kpy import jit
from kpy.jit.memory import View
from kpy.lower.switch_points import SwitchPoints

from kernel.state.frame_table import FRAME_BYTES, Frame
from tests.model import failing, instructions, uncured
from tests.model.boot import boot
from tests.model.guest import create_guest
from tests.model.memory import FIRST, PLACE, Memory, Snapshot, moved_constants

# Functions that are replaced by those of the same name in tests/model, by module of kernel.
MODELLED = {
    "instructions": {
        "x86.cpu": (
            "cpuid_into read_rsp read_cr0 write_cr0 clts read_cr2 read_cr3 write_cr3 read_cr4 "
            "write_cr4 rdmsr rdtsc invlpg pause wait_for_interrupt halt in8 in16 in32 "
            "read_ds read_es read_fs read_gs"
        ),
        "x86.context": ("load_ds_safe load_es_safe load_fs_safe load_gs_safe load_user_gs_safe"),
        "x86.fpu": "xrstor_safe",
        "x86.power": "machine_restart machine_power_off",
        "x86.apic": (
            "apic_eoi apic_send_ipi apic_send_nmi_to_others apic_pending_vector "
            "apic_set_timer_deadline"
        ),
        "base.guest_memory": "guest_copy",
        "main": "enter_guest",
    },
    "paging": {"base.guest_memory": "read_guest write_guest"},
}
WATCHED = ("kernel", "tests.model.uncured")  # whose accesses to memory processors may stop at
VCPUS = (1, 2)  # of the first guests: with domain 0's, one for each processor
CALLABLE = [
    *(f"kernel.{name}" for name in ("base.cmdline", "dom0.construct", "state.domain")),
    *(f"kernel.{name}" for name in ("domain.free", "frames.allocation", "frames.exchange")),
    *(f"kernel.{name}" for name in ("frames.m2p", "x86.percpu", "x86.smp", "x86.tsc")),
    "tests.model.drive",
    "tests.model.failing",
    "tests.model.processors",
    "tests.model.turns",
]


def replacements():
    """Return what stands for what, by dotted names."""
    table = {}
    for ours, modules in MODELLED.items():
        for module, names in modules.items():
            for name in names.split():
                table[f"kernel.{module}.{name}"] = f"tests.model.{ours}.{name}"
    for name, others in instructions.IGNORED.items():
        for other in others.split():
            table[f"kernel.x86.{other}"] = f"tests.model.instructions.{name}"
    return table


class Machine:
    """A machine that has booted: dom0 and two guests run."""

    def __init__(self, also=(), edges=(), place=PLACE):
        """Boot it. `also` are modules that can be called too, `edges` those whose edges are
        counted; machines in one process need different places.
        """
        self.memory = Memory(place)
        with moved_constants(self.memory.constants()):
            self.points = SwitchPoints("tests.model.processors.before_access", WATCHED)
            self.program = jit.load(
                "kernel.main",
                replacements(),
                [*CALLABLE, *also],
                switch_points=self.points,
                edges=edges,
                variants=uncured.VERSIONS | failing.VERSIONS,
            )
        self.functions = {}
        self.dom0 = boot(self)
        self.first_guests = [create_guest(self, nr_vcpus=n) for n in VCPUS]
        self.snapshot = self.take_snapshot()
        self.start_over()

    def __getitem__(self, name):
        """A function or static of the core by its dotted name."""
        if name not in self.functions:
            self.functions[name] = self.program[name]
        return self.functions[name]

    def take_snapshot(self):
        """Keep the present state; `restore()` of what is returned goes back to it."""
        return Snapshot(self.memory, self.program)

    def start_over(self):
        """Go back to dom0 and the first guests."""
        self.snapshot.restore()
        self.guests = list(self.first_guests)

    def frame(self, mfn):
        """Return a frame's entry in the core's table."""
        return View(Frame, self.memory.frame_table + (mfn - FIRST) * FRAME_BYTES)

    def domain(self, domain_id):
        """Return a domain of the core's table, None where there is none."""
        return self["kernel.state.domain.find_domain"](domain_id)

    def alive(self):
        """Return all domains of the core's table, dying ones included."""
        found, domain = [], self["kernel.state.domain.domain_table"].first
        while domain is not None:
            found.append(domain)
            domain = domain.list_next
        return found

    def preempt(self, bits):
        """Let the next looks for urgent work find some, one a bit, the lowest first."""
        self["tests.model.processors.preempt_choices"].value = bits

    def pass_time(self, ns):
        """Let time pass, and timers expire."""
        self["tests.model.drive.pass_time"](ns)

    def trap(self, vcpu, vector, error_code=0, cr2=0):
        """Let a vCPU raise an exception in guest kernel mode, and go on behind it."""
        rip, rsp = vcpu.regs.rip, vcpu.regs.rsp
        self["tests.model.drive.trap"](vcpu, vector, error_code, cr2)
        vcpu.regs.rip, vcpu.regs.rsp = rip, rsp
