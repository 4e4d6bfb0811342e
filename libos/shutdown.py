"""The good end: an exit code for whoever made the domain, then power off."""

import abi
from kpy import Never, u32, u64

from libos.console import drain_console, say
from libos.hypercall import sched_shutdown
from libos.xenbus import NO_TRANSACTION, compose, composed_text, has_xenbus, xenbus_write

# The hypercall takes a reason only; the toolstack reads this node once the domain has shut down.
EXIT_CODE_NODE = b"data/exit-code"


def shutdown(exit_code: u64) -> Never:
    """End the domain."""
    if has_xenbus():
        compose(f"{exit_code}")
        if xenbus_write(NO_TRANSACTION, EXIT_CODE_NODE, composed_text()) < 0:
            say(f"libos: cannot write {EXIT_CODE_NODE}")
    drain_console()
    power_off(abi.SHUTDOWN_poweroff)


def power_off(reason: u32) -> Never:
    while True:
        sched_shutdown(reason)
