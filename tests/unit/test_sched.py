"""The scheduler's arithmetic in a simulated machine: shares, affinity, and who is alerted."""

import ctypes

import pytest
from kpy import jit

from kernel.sched.schedule import LEAST_RUN_NS
from kernel.sched.slice import SHORTEST_NS, SLICE_NS, SPREAD_NS
from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu, VPF_blocked
from kernel.x86.percpu import Pcpu

MS = 1_000_000
ALL = (1 << 64) - 1
RUNSTATE_blocked = 2


class Machine:
    """Some CPUs on which the test makes time pass; a vCPU that runs uses all the time it gets."""

    def __init__(self):
        self.now, self.alerts, self.waits = 0, [], []
        self.tell_reader = lambda: None
        self.program = jit.load(
            "kernel.sched.schedule",
            also=[
                "kernel.sched.place",
                "kernel.sched.wake",
                "kernel.sched.queue",
                "kernel.sched.slice",
                "kernel.base.cmdline",
                "kernel.sched.runstate",
            ],
            replace={
                "kernel.x86.percpu.this_cpu": lambda: self.cpu,
                "kernel.x86.tsc.system_time_ns": lambda: self.now,
                "kernel.x86.ipi.serve_mailbox": lambda: None,
                "kernel.x86.ipi.ipi_kick": lambda cpu, work: self.alerts.append(cpu),
                "kernel.sched.timer_heap.set_timer": self.set_timer,
                "kernel.x86.context.switch_to": lambda previous, next: None,
                "kernel.x86.context.save_context": lambda v: None,
                "kernel.sched.runstate.update_runstate_area": lambda v: None,
                "kernel.x86.idle.idle_wait": lambda: self.waits.append(self.queue.nr_queued),
                "kernel.evtchn.trace_virq.tell_reader": lambda: self.tell_reader(),
                "kernel.x86.apic.apic_pending_vector": lambda: 0,
                "kernel.x86.numa.same_node": lambda cpu: self.nodes[cpu],
                "kernel.frames.scrub.scrub_step": lambda: None,
            },
        )
        self.cpu = self.program.new(Pcpu, id=31)
        self.cpu_scheds = self.program["kernel.sched.place.cpu_scheds"]

    def set_timer(self, timer, expires):
        timer.is_active, timer.expires_ns, self.slice_end = True, expires, expires

    def start_over(self, nr_cpus=2):
        p = self.program
        self.now, self.nr_cpus, self.vcpus = 10 * MS, nr_cpus, {}
        self.alerts.clear()
        count = p["kernel.x86.percpu.nr_cpus"]
        ctypes.c_uint32.from_address(int(count)).value = nr_cpus
        self.queue = p["kernel.sched.queue.run_queue"]
        self.queue.first = self.queue.last = None
        self.queue.nr_queued = self.queue.virtual_time = 0
        self.queue.idle_cpus = (1 << nr_cpus) - 1
        for cpu in range(nr_cpus):
            self.cpu_scheds[cpu].running = None
            self.cpu_scheds[cpu].slice_timer.is_active = False
            self.cpu_scheds[cpu].slice_random = self.cpu_scheds[cpu].arrived_at_ns = 0

    def new_vcpu(self, name, weight=256, affinity=ALL):
        d = self.program.new(Domain, sched_weight=weight)
        v = self.program.new(Vcpu, pause_flags=VPF_blocked)
        v.domain, v.sched.affinity = d, affinity
        v.sched.runstate.state, v.sched.runstate.state_entry_time = RUNSTATE_blocked, self.now
        self.vcpus[name] = v
        return v

    def wake(self, v):
        self.alerts.clear()
        self.program["kernel.sched.wake.vcpu_unblock"](v)

    def reschedule(self, cpu):
        """Do what `schedule` does on a CPU."""
        running = self.cpu_scheds[cpu].running
        if running is not None:
            self.program.leave(running, self.now)
        chosen = self.program.arrive(cpu, self.now)
        self.program.start_slice(cpu)
        if running is not None and (chosen is None or chosen.address != running.address):
            running.context_loaded = 0
            change_runstate = self.program["kernel.sched.runstate.change_runstate"]
            change_runstate(running, self.program.rest_state(running), self.now)
        return chosen

    def block(self, cpu):
        """Let what runs on a CPU block."""
        self.cpu_scheds[cpu].running.pause_flags = VPF_blocked
        return self.reschedule(cpu)

    def slices(self, line, cpu=0):
        """Boot with a command line.

        Returns: the lengths of a CPU's first thousand slices.
        """
        self.program["kernel.base.cmdline.set_command_line"](line)
        self.program["kernel.sched.slice.init_slices"](cpu)
        return [self.program["kernel.sched.slice.slice_ns"](cpu) for _ in range(1000)]

    def interleaving(self, nr_slices):
        """Let CPU 0 run slice by slice.

        Returns: (who ran, for how many ns) in each.
        """
        names, found = {v.address: name for name, v in self.vcpus.items()}, []
        for _ in range(nr_slices):
            running, start = self.reschedule(0), self.now
            self.now = self.slice_end
            found.append((names[running.address], self.now - start))
        return found

    def run(self, slices):
        """Let all CPUs run, one after the other at the end of its slice.

        Returns: time used by each, in slices.
        """
        used = dict.fromkeys(self.vcpus, 0)
        names = {v.address: name for name, v in self.vcpus.items()}
        for _ in range(slices):
            for cpu in range(self.nr_cpus):
                self.now += SLICE_NS // self.nr_cpus
                self.reschedule(cpu)
            for cpu in range(self.nr_cpus):
                running = self.cpu_scheds[cpu].running
                if running is not None:
                    used[names[running.address]] += 1
        return used


def test_three_share_two_cpus(machine):
    """Each gets two thirds of a CPU.

    Nobody is stuck on a CPU with a rival while another runs alone.
    """
    for name in "abc":
        machine.wake(machine.new_vcpu(name))
    used = machine.run(300)
    assert all(190 <= share <= 210 for share in used.values()), used


def test_weights(machine):
    """Twice the weight, twice the time."""
    machine.start_over(1)
    machine.wake(machine.new_vcpu("light", weight=128))
    machine.wake(machine.new_vcpu("heavy", weight=256))
    used = machine.run(300)
    assert 190 <= used["heavy"] <= 210


def test_affinity(machine):
    """Two pinned to one CPU halve it, the third has the other one for itself."""
    machine.wake(machine.new_vcpu("a", affinity=1))
    machine.wake(machine.new_vcpu("b", affinity=1))
    machine.wake(machine.new_vcpu("c"))
    used = machine.run(200)
    assert 95 <= used["a"] <= 105 and 95 <= used["b"] <= 105 and used["c"] >= 195


def test_who_may_not_stay_gets_room_elsewhere(machine):
    """The other CPU runs one alone, so no slice ends there by itself."""
    machine.start_over(2)
    moved, alone = machine.new_vcpu("moved"), machine.new_vcpu("alone", affinity=0b10)
    for cpu, v in enumerate((moved, alone)):
        machine.wake(v)
        machine.reschedule(cpu)
    assert not machine.cpu_scheds[1].slice_timer.is_active
    machine.now += 5 * MS
    machine.cpu.id = 0
    machine.program["kernel.sched.place.set_hard_affinity"](moved, 0b10)
    machine.reschedule(0)
    machine.alerts.clear()
    machine.program["kernel.sched.place.offer_work"](moved)
    machine.cpu.id = 31
    assert machine.alerts == [1]
    assert machine.reschedule(1).address == moved.address


def test_nobody_waits_for_long_behind_pinned_ones(machine):
    """One that ran alone for long is not made to wait until the others have caught up."""
    machine.wake(machine.new_vcpu("a", affinity=1))
    machine.wake(machine.new_vcpu("b", affinity=1))
    machine.wake(machine.new_vcpu("c"))
    machine.run(500)
    machine.wake(machine.new_vcpu("d", affinity=2))
    machine.vcpus["c"].sched.affinity = 2
    used = machine.run(100)
    assert used["c"] >= 35 and used["d"] >= 35


def test_an_idle_cpu_that_wakes_somebody_itself_does_not_sleep(machine):
    """Telling the reader of a trace that its ring is half full wakes domain 0, perhaps for here."""
    machine.start_over(1)
    reader, outside = machine.new_vcpu("reader"), machine.cpu
    machine.cpu, machine.tell_reader = machine.program.new(Pcpu, id=0), lambda: machine.wake(reader)
    machine.waits.clear()
    try:
        chosen = machine.program.idle(machine.cpu)
    finally:
        machine.cpu, machine.tell_reader = outside, lambda: None
    assert chosen.address == reader.address
    assert machine.waits == []


def test_wake_goes_to_an_idle_cpu(machine):
    """The last one if it is idle, else any."""
    v = machine.new_vcpu("a")
    v.processor = 1
    machine.wake(v)
    assert machine.alerts == [1]
    other = machine.new_vcpu("b")
    other.processor = 1
    machine.wake(other)
    assert machine.alerts == [0]


THREADS, EVEN = [0b0011, 0b0011, 0b1100, 0b1100], [0b0001, 0b0010, 0b0100, 0b1000]
ONE_NODE = [ALL] * 4


@pytest.mark.parametrize(
    ("threads", "nodes", "idle", "last", "chosen"),
    [
        (THREADS, ONE_NODE, 0b1101, 0, 2),
        (THREADS, ONE_NODE, 0b1111, 1, 1),
        (THREADS, ONE_NODE, 0b0110, 2, 2),
        (THREADS, ONE_NODE, 0b1001, 3, 3),
        (EVEN, [0b0011, 0b0011, 0b1100, 0b1100], 0b0111, 3, 2),
        (EVEN, [0b0011, 0b0011, 0b1100, 0b1100], 0b0011, 3, 0),
        (THREADS, THREADS, 0b1110, 0, 2),
    ],
    ids=[
        "an idle core before the last CPU",
        "the last CPU of idle cores",
        "no idle core: the last CPU",
        "no idle core: the last CPU, again",
        "the node of the last CPU",
        "another node before none",
        "an idle core of another node before half a core",
    ],
)
def test_what_is_near_counts(machine, threads, nodes, idle, last, chosen):
    machine.start_over(4)
    machine.program["kernel.x86.topology.is_uneven"].value = True
    masks = machine.program["kernel.x86.topology.thread_masks"]
    for cpu in range(4):
        masks[cpu] = threads[cpu]
    machine.nodes = nodes
    machine.queue.idle_cpus = idle
    v = machine.new_vcpu("a")
    v.processor = last
    try:
        machine.wake(v)
    finally:
        machine.program["kernel.x86.topology.is_uneven"].value = False
    assert machine.alerts == [chosen]


def test_sleeper_takes_a_busy_cpu_at_once(machine):
    """A vCPU that slept preempts a hog.

    Its credit is bounded, so the hog is back within a slice.
    """
    machine.start_over(1)
    machine.wake(machine.new_vcpu("hog"))
    machine.run(100)
    sleeper = machine.new_vcpu("sleeper")
    machine.wake(sleeper)
    assert machine.alerts == [0]
    assert machine.reschedule(0).address == sleeper.address
    machine.now += SLICE_NS
    assert machine.reschedule(0).address == machine.vcpus["hog"].address


def test_who_came_just_now_insists(machine):
    """A wake-up takes the CPU from it only after a while, by a timer; it may block before."""
    machine.start_over(1)
    server, client = machine.new_vcpu("server"), machine.new_vcpu("client")
    machine.wake(server)
    machine.reschedule(0)
    arrived, timer = machine.now, machine.cpu_scheds[0].slice_timer
    machine.now += LEAST_RUN_NS // 3
    assert machine.program.insists(server, 0) and not timer.is_active, "nobody waits"
    machine.wake(client)
    assert machine.alerts == [0]
    assert machine.program.insists(server, 0)
    assert timer.is_active and timer.expires_ns == arrived + LEAST_RUN_NS
    machine.now = timer.expires_ns
    assert not machine.program.insists(server, 0)
    assert machine.reschedule(0).address == client.address
    assert machine.program.insists(client, 0)
    client.pause_flags = VPF_blocked
    assert not machine.program.insists(client, 0)


def test_to_insist_shortens_a_slice_but_never_lengthens_one(machine):
    machine.start_over(1)
    v = machine.new_vcpu("a")
    machine.wake(v)
    machine.wake(machine.new_vcpu("b"))
    machine.reschedule(0)
    timer = machine.cpu_scheds[0].slice_timer
    assert timer.expires_ns == machine.now + SLICE_NS
    assert machine.program.insists(machine.cpu_scheds[0].running, 0)
    assert timer.expires_ns == machine.now + LEAST_RUN_NS
    timer.expires_ns = machine.now + 1
    assert machine.program.insists(machine.cpu_scheds[0].running, 0)
    assert timer.expires_ns == machine.now + 1


def test_who_yields_or_must_leave_does_not_insist(machine):
    machine.start_over(1)
    a, b = machine.new_vcpu("a"), machine.new_vcpu("b")
    for v in (a, b):
        machine.wake(v)
    first = machine.reschedule(0)
    assert machine.program.insists(first, 0)
    machine.program.vcpu_yield(first)
    assert not machine.program.insists(first, 0)
    second = machine.reschedule(0)
    assert second.address != first.address
    assert machine.program.insists(second, 0)
    machine.program["kernel.sched.place.set_hard_affinity"](second, 2)
    assert not machine.program.insists(second, 0)


def test_one_alone_needs_no_slices(machine):
    """Without a rival there is no timer; a rival's coming starts it."""
    machine.start_over(1)
    machine.wake(machine.new_vcpu("a"))
    machine.reschedule(0)
    assert not machine.cpu_scheds[0].slice_timer.is_active
    machine.wake(machine.new_vcpu("b"))
    assert machine.alerts == [0]
    machine.reschedule(0)
    assert machine.cpu_scheds[0].slice_timer.is_active


def test_loaded_context_stays_with_its_cpu(machine):
    """A vCPU woken before its CPU has saved it can be taken by that CPU only."""
    v = machine.new_vcpu("a")
    v.context_loaded, v.processor = 1, 1
    machine.wake(v)
    assert machine.program.arrive(0, machine.now) is None
    assert machine.program.arrive(1, machine.now).address == v.address


def test_runstates_add_up(machine):
    """Blocked, runnable and running times cover all that passed."""
    machine.start_over(1)
    a, b = machine.new_vcpu("a"), machine.new_vcpu("b")
    start = machine.now
    machine.now += 5 * MS
    machine.wake(a)
    machine.wake(b)
    machine.run(50)
    machine.now += 3 * MS
    machine.block(0)
    for v in (a, b):
        times = machine.program["kernel.sched.runstate.current_runstate"](v).time
        assert sum(times) == machine.now - start
        assert times[RUNSTATE_blocked] >= 5 * MS


def test_paused_vcpu_does_not_run(machine):
    """Pauses count; only the last unpause wakes."""
    v = machine.new_vcpu("a")
    v.pause_flags = 0
    v.pause_count = 2
    unpause = machine.program["kernel.sched.wake.vcpu_unpause"]
    unpause(v)
    assert not v.sched.is_queued
    unpause(v)
    assert v.sched.is_queued


def test_slices_are_equal_without_a_seed(machine):
    assert set(machine.slices(b"x dom0_mem=1G")) == {SLICE_NS}


@pytest.mark.parametrize("seed", [b"0", b"1", b"2", b"4294967295", b"9" * 30])
def test_slices_vary_with_a_seed(machine, seed):
    """From a quarter to seven quarters of a slice, one on average."""
    lengths = machine.slices(b"x sched-seed=" + seed)
    assert len(set(lengths)) == len(lengths)
    assert SHORTEST_NS <= min(lengths) < SLICE_NS // 3
    assert SLICE_NS * 5 // 3 < max(lengths) < SHORTEST_NS + SPREAD_NS
    assert 0.9 * SLICE_NS < sum(lengths) / len(lengths) < 1.1 * SLICE_NS


def test_slices_repeat_with_their_seed(machine):
    """Another seed, or another CPU, has others from the first one on."""
    first = machine.slices(b"x sched-seed=5")
    assert machine.slices(b"x sched-seed=5") == first
    for other in machine.slices(b"x sched-seed=6"), machine.slices(b"x sched-seed=5", cpu=1):
        assert sum(a == b for a, b in zip(first, other, strict=True)) == 0


def test_domains_interleave_as_their_seed_says(machine):
    """Three domains that never rest: another order for each seed, the same shares for all."""

    def interleaving(line):
        machine.start_over(1)
        machine.slices(line)
        for name in "abc":
            machine.wake(machine.new_vcpu(name))
        return machine.interleaving(600)

    first, again, other = (interleaving(b"x sched-seed=" + seed) for seed in (b"1", b"1", b"2"))
    assert first == again
    assert [name for name, _ in first] != [name for name, _ in other]
    for found in (first, other):
        for name in "abc":
            used = sum(ns for who, ns in found if who == name)
            assert used == pytest.approx(sum(ns for _, ns in found) / 3, rel=0.05)
    fair = interleaving(b"x")
    assert [name for name, _ in fair] == list("abc") * 200
