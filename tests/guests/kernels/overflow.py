"""Runs over its stack, in the way that the option `how` names: boot, thread or calls."""

from kpy import export, extern, u64

from libos.console import say
from libos.event import event_count
from libos.options import option
from libos.stack import guards
from libos.text import same_text
from libos.thread import FOREVER, current, start_thread, timer_port, wait_event


@extern
def large_frame(guard: u64) -> None: ...


@extern
def endless_calls() -> None: ...


@export
def main() -> u64:
    say("overflow: begins")
    if same_text(option(b"how"), b"calls"):
        endless_calls()
    elif same_text(option(b"how"), b"thread"):
        start_thread(overflow_here)
        wait_event(timer_port, event_count(timer_port), FOREVER)
    else:
        overflow_here()
    say("overflow: FAIL, nothing noticed")
    return 1


def overflow_here() -> None:
    """Run over the stack of the thread that calls this."""
    large_frame(guards[current])
