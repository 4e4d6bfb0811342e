"""What tests of front ends share: pages, grants and events without a hypervisor."""

import ctypes

import abi
from kpy import jit

PAGE = 4096
SLOTS_OFFSET = abi.blkif_sring.fields["ring"].offset


def pages(count):
    """Return a buffer, to be kept, and the address of its first whole page, for `count` pages."""
    buffer = ctypes.create_string_buffer((count + 1) * PAGE)
    return buffer, (ctypes.addressof(buffer) + PAGE - 1) // PAGE * PAGE


class BackEnd:
    """Loads a front end; `serve`, the subclass's, does the back end's work whenever it waits."""

    def __init__(self, module):
        self.module, self.kept, self.granted, self.next_reference = module, [], {}, 8
        self.events = self.notified = 0
        self.program = jit.load(
            module,
            replace={
                "libos.pages.alloc_pages": self.alloc_pages,
                "libos.grant.grant_access": self.grant_access,
                "libos.grant.end_access": lambda reference: self.granted.pop(reference) is not None,
                "libos.event.notify": self.notify,
                "libos.event.event_count": lambda port: self.events,
                "libos.event.count_event": lambda port: None,
                "libos.thread.wait_event": self.wait_event,
            },
        )

    def alloc_pages(self, count):
        buffer, address = pages(count)
        self.kept.append(buffer)
        return address

    def grant_access(self, domid, address, is_read_only):
        self.next_reference += 1
        self.granted[self.next_reference] = (address, is_read_only)
        return self.next_reference

    def notify(self, port):
        self.notified += 1

    def wait_event(self, port, seen, deadline):
        """The front end sleeps: let the back end work, and tell whether an event came of it."""
        if self.events == seen:
            self.serve()
        return self.events != seen

    def call(self, struct, name, *arguments):
        return self.program[f"{self.module}.{struct}.{name}"](self.front, *arguments)


def number(address, size):
    return int.from_bytes(ctypes.string_at(address, size), "little")
