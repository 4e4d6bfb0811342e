"""What a debugger does to one domain: stop and go, memory, registers, breakpoints.

Invariant while stopped: the domain is paused by `pauses` controller pauses that we know of (our
own, one for each trap that we were told of, and one that we found), so exactly as many unpauses let
it run. Nothing is unpaused before vCPUs that shall stay stopped are paused one by one.

The core stops the domain for #BP and #DB of the guest kernel (XEN_DOMCTL_setdebugging); memory goes
by XEN_DOMCTL_gdbsx_guestmemio, through the guest's own page tables.
"""

import contextlib
from dataclasses import dataclass

import xen_codecs as abi
from xen import domctl
from xen.privcmd import HypercallError

from xend.gdbstub_watch import Watchpoints

TRAP_int3 = 3
EVENT_shutdown = 256  # no trap: the vCPU on which the domain ended
INT3 = b"\xcc"
PAGE_BYTES = 4096
DR6_SINGLE_STEP = 1 << 14
SIGINT, SIGTRAP, SIGSEGV = 2, 5, 11


@dataclass
class Stop:
    """Why a domain stopped: gdb's signal number, the vCPU, and more for the stop reply."""

    signal: int
    vcpu: int
    detail: str = ""
    is_step: bool = False  # the end of a single step, and nothing else


class Target:
    """One domain under a debugger, from `attach` to `detach`. Errors: HypercallError."""

    def __init__(self, xc, domain):
        self.xc, self.domain = xc, domain
        self.nr_vcpus = domain.info.max_vcpu_id + 1
        self.breakpoints = {}  # address: the byte that int3 stands for
        self.watchpoints = Watchpoints()
        self.contexts = {}  # registers of stopped vCPUs, read on first use
        self.held = set()  # vCPUs paused one by one
        self.stepping = set()
        self.pauses = 0
        self.actions, self.default = {}, "c"  # of the last `resume`

    @property
    def domid(self):
        """The domain's id; one that nobody has once the domain is gone, so that all calls fail."""
        return abi.DOMID_INVALID if self.domain.domid is None else self.domain.domid

    def attach(self):
        """Stop the domain and take its debug traps.

        Errors: HypercallError, nothing has changed: this hypervisor has no such interface.
        """
        domctl.gdbsx_domstatus(self.xc, self.domid)
        info = domctl.getdomaininfo(self.xc, self.domid)
        domctl.setdebugging(self.xc, self.domid, True)
        domctl.pausedomain(self.xc, self.domid)
        self._traps()  # what a debugger before us has not asked for any more
        self.pauses = 1 + bool(info.flags & abi.XEN_DOMINF_paused)

    def detach(self):
        """Take everything back and let the domain run, whatever became of it meanwhile."""
        if not self.pauses:
            self.stop()
        for address in list(self.breakpoints):
            with contextlib.suppress(HypercallError):
                self.remove_breakpoint(address)
        if self.watchpoints.clear():
            self.set_watchpoints()
        domctl.setdebugging(self.xc, self.domid, False)
        self.resume({})

    # Stop and go

    def resume(self, actions, default="c"):
        """Let vCPUs run.

        Args: actions: by vCPU, "c" to go on, "s" for one instruction, None to stay stopped;
              default: of vCPUs that it does not name.
        """
        self.actions, self.default = actions, default
        self.contexts.clear()
        for vcpu in self.vcpus():
            action = actions.get(vcpu, default)
            if action is None:
                domctl.gdbsx_pausevcpu(self.xc, self.domid, vcpu)
                self.held.add(vcpu)
            elif action == "s":
                domctl.single_step(self.xc, self.domid, vcpu, True)
                self.stepping.add(vcpu)
        self.contexts.clear()
        pauses, self.pauses = self.pauses, 0
        for _ in range(pauses):
            domctl.unpausedomain(self.xc, self.domid)

    def resume_again(self):
        """Do what the last `resume` did: it was stopped for nothing that gdb wants to know."""
        self.resume(self.actions, self.default)

    def is_stopped(self):
        """Say whether a trap, or somebody, has paused the running domain; nothing is consumed."""
        info = domctl.getdomaininfo(self.xc, self.domid)
        return info is not None and bool(info.flags & abi.XEN_DOMINF_paused)

    def stop(self):
        """Stop a domain that runs or has just trapped.

        Returns: one Stop per trap; None for a single step that nobody wants any more: its trap
        flag lay in a frame on the guest's stack while an event was handled.
        """
        domctl.pausedomain(self.xc, self.domid)
        traps = self._traps()
        self.pauses = 1 + sum(vector != EVENT_shutdown for _, vector in traps)
        for vcpu in self.stepping:
            domctl.single_step(self.xc, self.domid, vcpu, False)
        for vcpu in self.held:
            domctl.gdbsx_unpausevcpu(self.xc, self.domid, vcpu)
        stepped, self.stepping, self.held = self.stepping, set(), set()
        return [self._explain(vcpu, vector, vcpu in stepped) for vcpu, vector in traps]

    def _traps(self):
        """Take the traps of a paused domain that were not told yet, as (vCPU, vector) pairs."""
        traps = []
        while (status := domctl.gdbsx_domstatus(self.xc, self.domid))[1] is not None:
            traps.append(status[1:])
        return traps

    def _explain(self, vcpu, vector, stepped):
        """Find out what a trap was; a breakpoint of ours takes rip back to its place."""
        if vector == EVENT_shutdown:
            return Stop(SIGSEGV, vcpu)
        context = self.context(vcpu)
        if vector == TRAP_int3:
            place = context.user_regs.rip - 1
            if place not in self.breakpoints:
                return Stop(SIGTRAP, vcpu)
            context.user_regs.rip = place
            self.set_context(vcpu)
            return Stop(SIGTRAP, vcpu, "swbreak:;")
        hits = context.debugreg[6]
        context.debugreg[6] = 0
        self.set_context(vcpu)
        detail = self.watchpoints.explain(hits)
        if hits & DR6_SINGLE_STEP and not detail and not stepped:
            return None
        return Stop(SIGTRAP, vcpu, detail, stepped and not detail)

    # Registers

    def vcpus(self):
        """Return the numbers of the vCPUs that have registers: those that were started."""
        return [vcpu for vcpu in range(self.nr_vcpus) if self._has_context(vcpu)]

    def _has_context(self, vcpu):
        try:
            self.context(vcpu)
        except HypercallError:
            return False
        return True

    def context(self, vcpu):
        """Return the vcpu_guest_context of a stopped vCPU; after a change call `set_context`."""
        if vcpu not in self.contexts:
            self.contexts[vcpu] = domctl.getvcpucontext(self.xc, self.domid, vcpu)
        return self.contexts[vcpu]

    def set_context(self, vcpu):
        """Give a stopped vCPU the registers in its context."""
        domctl.setvcpucontext(self.xc, self.domid, vcpu, self.contexts[vcpu])

    # Memory

    def read(self, address, size_bytes):
        """Return memory as the guest's program knows it, without our breakpoints; shorter where
        a page is missing.

        Errors: HypercallError, the first byte is not there.
        """
        data = bytearray()
        for start, size in _in_pages(address, size_bytes):
            try:
                data += domctl.read_guest(self.xc, self.domid, start, size)
            except HypercallError:
                if not data:
                    raise
                break
        for place, original in self.breakpoints.items():
            if address <= place < address + len(data):
                data[place - address : place - address + 1] = original
        return bytes(data)

    def write(self, address, data):
        """Change memory; a byte under a breakpoint changes when the breakpoint goes."""
        patched = bytearray(data)
        for place in self.breakpoints:
            if address <= place < address + len(data):
                self.breakpoints[place] = bytes(data[place - address : place - address + 1])
                patched[place - address : place - address + 1] = INT3
        for start, size in _in_pages(address, len(data)):
            part = patched[start - address : start - address + size]
            domctl.write_guest(self.xc, self.domid, start, part)

    def insert_breakpoint(self, address):
        """Put an int3 in the place of a byte."""
        if address not in self.breakpoints:
            original = domctl.read_guest(self.xc, self.domid, address, 1)
            domctl.write_guest(self.xc, self.domid, address, INT3)
            self.breakpoints[address] = original

    def remove_breakpoint(self, address):
        """Put the byte back."""
        if address in self.breakpoints:
            original = self.breakpoints.pop(address)
            domctl.write_guest(self.xc, self.domid, address, original)

    def set_watchpoints(self):
        """Load the debug registers of every vCPU with the watchpoints."""
        for vcpu in self.vcpus():
            self.watchpoints.load(self.context(vcpu))
            self.set_context(vcpu)


def _in_pages(address, size_bytes):
    """Cut a range at page boundaries, as (address, size) pairs."""
    while size_bytes:
        size = min(size_bytes, PAGE_BYTES - address % PAGE_BYTES)
        yield address, size
        address, size_bytes = address + size, size_bytes - size
