"""The smallest kernel: it says who it is, and ends."""

from kpy import export, u64

from libos.console import say
from libos.start_info import boot, is_initial_domain


@export
def main() -> u64:
    say(f"Hello, world: a kernel with {boot().nr_pages} pages, {'dom0' if is_initial_domain() else 'domU'}")
    return 0
