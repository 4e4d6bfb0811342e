"""Watchpoints and hardware breakpoints: the guest's four debug registers.

They count on every vCPU, in guest kernel mode; a guest that sets debug registers itself takes them
away. Source: Intel SDM vol 3 18.2.
"""

SLOTS = 4
KINDS = {1: 0b00, 2: 0b01, 4: 0b11}  # gdb's Z1 executed, Z2 written, Z4 accessed: the R/W bits
NAMES = {2: "watch", 4: "awatch"}
LENGTHS = {1: 0b00, 2: 0b01, 4: 0b11, 8: 0b10}
DR7_FIXED = 0x400


class Watchpoints:
    """Up to four places, each `(kind, address, length)`."""

    def __init__(self):
        self.slots = [None] * SLOTS

    def add(self, kind, address, length):
        """Watch a place; returns False when the processor cannot, or all registers are in use."""
        if kind not in KINDS or length not in LENGTHS or address % length:
            return False
        place = (kind, address, length)
        if place in self.slots:
            return True
        if None not in self.slots:
            return False
        self.slots[self.slots.index(None)] = place
        return True

    def remove(self, kind, address, length):
        """Watch a place no more."""
        place = (kind, address, length)
        if place in self.slots:
            self.slots[self.slots.index(place)] = None

    def clear(self):
        """Watch nothing; returns whether anything was watched."""
        watched = any(self.slots)
        self.slots = [None] * SLOTS
        return watched

    def load(self, context):
        """Set the debug registers in a vcpu_guest_context."""
        dr7 = DR7_FIXED
        for number, place in enumerate(self.slots):
            context.debugreg[number] = 0
            if place is not None:
                kind, address, length = place
                size = 0 if kind == 1 else LENGTHS[length]
                context.debugreg[number] = address
                dr7 |= 1 << 2 * number | (KINDS[kind] | size << 2) << 16 + 4 * number
        context.debugreg[6] = 0
        context.debugreg[7] = dr7

    def explain(self, dr6):
        """Return what a stop reply says about a debug trap, "" when it was no watchpoint."""
        for number, place in enumerate(self.slots):
            if place is not None and dr6 >> number & 1:
                kind, address, _ = place
                return "hwbreak:;" if kind == 1 else f"{NAMES[kind]}:{address:x};"
        return ""
