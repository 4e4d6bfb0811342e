"""VIRQ_TBUF: domain 0 is told that there is something to read in the trace rings."""

import abi

import kernel.trace.turn  # its statics are assigned here
from kernel.console.console import printk
from kernel.evtchn.virq import send_global_virq


def tell_reader() -> None:
    """Tell domain 0 that a ring is half full, if one is, and everybody if one was spoilt.

    Context: no lock held.
    """
    if kernel.trace.turn.virq_is_due:
        kernel.trace.turn.virq_is_due = False
        cpu = kernel.trace.turn.spoilt_ring
        if cpu is not None:
            kernel.trace.turn.spoilt_ring = None
            place = kernel.trace.turn.spoilt_place
            printk(f"trace: stopped, the reader of processor {cpu} says that it is at {place:#x}")
        send_global_virq(abi.VIRQ_TBUF)
