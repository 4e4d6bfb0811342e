"""From the first instruction to the program's `main`, which returns the exit code."""

import abi
from kpy import Never, Ptr, export, extern, u64

from libos.console import init_console
from libos.event import init_events, map_shared_info
from libos.grant import init_grants
from libos.pages import init_pages
from libos.shutdown import shutdown
from libos.stack import init_stacks
from libos.start_info import remember_start_info
from libos.thread import init_threads
from libos.trap import init_traps
from libos.xenbus import init_xenbus


@extern
def main() -> u64: ...


@export
def libos_start(start_info: Ptr[abi.start_info]) -> Never:
    """Reached from start.asm, on the boot stack, with events masked."""
    remember_start_info(start_info)
    init_console()  # from here on something can be said
    init_traps()  # and a mistake is reported
    init_stacks()
    map_shared_info()
    init_pages()
    init_events()
    init_threads()
    init_grants()
    init_xenbus()
    shutdown(main())
