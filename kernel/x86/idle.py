"""The only place where the core lets interrupts in."""

from kernel.x86.cpu import wait_for_interrupt


def idle_wait() -> None:
    """Sleep until an interrupt, and serve it. Returns at once if one is waiting already."""
    wait_for_interrupt()
