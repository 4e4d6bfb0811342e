"""The smallest kernel: it says who it is, and ends."""

from kpy import export, u64

from libos.console import say
from libos.start_info import boot, is_initial_domain


@export
def main() -> u64:
    where = b"dom0" if is_initial_domain() else b"domU"
    say(f"Hello, world: a kernel with {boot().nr_pages} pages, {where}")
    return 0
