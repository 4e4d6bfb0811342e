"""Rules for domains that come and go, while others use what is theirs."""

import abi
from hypothesis.stateful import precondition, rule

from kernel.sched.slice import SLICE_NS
from tests.model.actors import Actors, bits, numbers, pick
from tests.model.guest import create_guest, try_domctl

MAX_GUESTS = 4


class LifeRules(Actors):
    """createdomain, destroydomain and what the toolstack does in between, by domain 0."""

    def __init__(self):
        super().__init__()
        self.dying = []

    @precondition(lambda self: len(self.machine.guests) < MAX_GUESTS)
    @rule(nr_vcpus=numbers, choices=bits)
    def create(self, nr_vcpus, choices):
        """Make another domain, if memory suffices."""
        if self.machine["kernel.frames.heap.nr_free"].value < 120:
            return
        self.machine.preempt(choices)
        guest = create_guest(self.machine, nr_vcpus=1 + nr_vcpus % 2)
        self.machine.preempt(0)
        self.machine.guests.append(guest)
        self.prepare(guest)

    @precondition(lambda self: self.machine.guests)
    @rule(victim=numbers, choices=bits)
    def destroy(self, victim, choices):
        """Take a domain apart, with interruptions."""
        guest = pick(self.machine.guests, victim)
        self.domctl(abi.XEN_DOMCTL_destroydomain, guest.id, choices=choices)
        self.machine.guests.remove(guest)
        self.dying.append(guest)

    @precondition(lambda self: self.machine.guests)
    @rule(victim=numbers, what=numbers, value=numbers)
    def control(self, victim, what, value):
        """Pause, resume, or limit a domain."""
        guest = pick(self.machine.guests, victim)
        command, u = pick(
            [
                (abi.XEN_DOMCTL_pausedomain, {}),
                (abi.XEN_DOMCTL_unpausedomain, {}),
                (abi.XEN_DOMCTL_max_mem, {"max_mem": {"max_memkb": 4 * (16 + value)}}),
                (abi.XEN_DOMCTL_getdomaininfo, {}),
            ],
            what,
        )
        self.domctl(command, guest.id, **u)

    def domctl(self, command, domain_id, choices=0, **u):
        """Make a domctl; return its result."""
        self.machine.preempt(choices)
        result, _ = try_domctl(self.machine.dom0, command, domain_id, **u)
        self.machine.preempt(0)
        return result

    @rule(ns=numbers)
    def wait(self, ns):
        """Let time pass: slices end, idle processors tidy up."""
        self.machine.pass_time(1 + ns * SLICE_NS // 100)

    def teardown(self):
        """In the end every domain can be destroyed, and only domain 0 is left."""
        for guest in list(self.machine.guests):
            self.domctl(abi.XEN_DOMCTL_destroydomain, guest.id)
        self.isolation_holds()
