"""Domains with grant tables for in-process tests; the frame table is two dictionaries of counts."""

import ctypes

import abi
from kpy import Array, jit, u8

from kernel.state.domain import Domain
from kernel.state.grant_table import ActivePage, SharedGrantPage
from kernel.state.vcpu import Vcpu
from kernel.x86.percpu import Pcpu
from tests.unit.guest import GuestMemory

ARGUMENTS = 0x10000  # guest address of the caller's structures
GRANTER, CALLER = 7, 1
PAGE = Array[u8, 4096]


class GrantMachine:
    """A caller and a granter. Frames are pages of this process: a frame's number is an index."""

    def __init__(self, module, also=(), replace=None):
        self.references, self.types = {}, {}
        self.untyped, self.frames = set(), {}
        self.preempt_after = None
        self.memory = GuestMemory(ARGUMENTS, 65536)
        self.program = jit.load(
            module,
            also=also,
            replace={
                "kernel.x86.percpu.this_cpu": lambda: self.cpu,
                "kernel.x86.ipi.serve_mailbox": lambda: None,
                "kernel.frames.frame.get_frame": self.get_frame,
                "kernel.frames.frame.put_frame": lambda mfn: self.count(self.references, mfn, -1),
                "kernel.frames.page_type.get_frame_type": self.get_type,
                "kernel.frames.page_type.put_frame_type": lambda mfn: self.count(
                    self.types, mfn, -1
                ),
                "kernel.base.guest_memory.copy_bytes_from_guest": self.memory.copy_from_guest,
                "kernel.base.guest_memory.copy_bytes_to_guest": self.memory.copy_to_guest,
                "kernel.x86.preempt.preempt_pending": self.preempt_pending,
                "kernel.state.domain.get_domain_by_id": self.find_domain,
                "kernel.state.domain.put_domain": lambda d: self.count(
                    self.domain_references, d, -1
                ),
                **(replace or {}),
            },
        )
        self.cpu = self.program.new(Pcpu)
        self.start_over()

    def start_over(self):
        """Forget everything."""
        self.references.clear()
        self.types.clear()
        self.untyped.clear()
        self.frames.clear()
        self.preempt_after = None
        self.domain_references, self.referenced = {}, []
        self.granter, self.caller = self.new_domain(GRANTER), self.new_domain(CALLER)
        self.vcpu = self.program.new(Vcpu)
        self.vcpu.domain = self.caller

    def new_domain(self, number):
        p = self.program
        d = p.new(Domain, domain_id=number, refcount=1)
        grant = d.grant
        grant.nr_frames, grant.max_maptrack_frames = 1, 1
        grant.maptrack_free = None
        grant.shared[0] = p.new(SharedGrantPage)
        for i in range(2):
            grant.active[i] = p.new(ActivePage)
        return d

    def new_frame(self, owner, mfn, text=b""):
        """Give a domain a frame with some text in it."""
        page = self.program.new(PAGE)
        ctypes.memmove(page.address, text, len(text))
        self.frames[mfn] = (owner.domain_id, page.address)
        return mfn

    def text(self, mfn, offset, size):
        """Return what is in a frame."""
        return ctypes.string_at(self.frames[mfn][1] + offset, size)

    def grant(self, number, mfn, flags=abi.GTF_permit_access, user=CALLER):
        """Let the granter offer a frame."""
        entry = self.granter.grant.shared[0].entries[number]
        entry.flags, entry.domid, entry.frame = flags, user, mfn
        return entry

    def find_domain(self, number):
        for d in (self.granter, self.caller):
            if d.domain_id == number:
                self.count(self.domain_references, d, 1)
                return d
        return None

    def get_frame(self, mfn, d):
        if mfn not in self.frames or self.frames[mfn][0] != d.domain_id:
            return False
        self.referenced.append(mfn)
        self.count(self.references, mfn, 1)
        return True

    def get_type(self, mfn, type_):
        if mfn in self.untyped:
            return False
        self.count(self.types, mfn, 1)
        return True

    def preempt_pending(self):
        if self.preempt_after is None:
            return False
        self.preempt_after -= 1
        return self.preempt_after < 0

    @staticmethod
    def count(table, key, change):
        key = getattr(key, "address", key)
        table[key] = table.get(key, 0) + change
        assert table[key] >= 0, f"{key} was given back once too often"
        if table[key] == 0:
            del table[key]

    def is_balanced(self):
        """Tell whether no reference is held."""
        return not (self.references or self.types or self.domain_references)

    def put_arguments(self, structures):
        """Place structures in an array in the guest; return its address."""
        data = b"".join(ctypes.string_at(s.address, s.type.size) for s in structures)
        self.memory.write(ARGUMENTS, data)
        return ARGUMENTS

    def result(self, type_, index, field):
        """Return a field of the structure that the guest sees."""
        view = self.program.new(type_)
        place = self.memory.place(ARGUMENTS + index * view.type.size, view.type.size)
        ctypes.memmove(view.address, bytes(self.memory.bytes[place]), view.type.size)
        return getattr(view, field)
