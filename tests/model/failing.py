"""Functions of the core that fail once, and then go on as before (kernel Python): as where another
processor frees memory in between.
"""

from kpy import static, u32

from kernel.base.ids import Vaddr
from kernel.frames.core_page import alloc_core_pages

VERSIONS = {"kernel.frames.core_page.alloc_core_page": "tests.model.failing.alloc_core_page"}

nr_until_failure = static(u32)  # calls, the one that fails included; 0: none fails any more


def alloc_core_page() -> Vaddr | None:
    """Allocate a page, but for once."""
    global nr_until_failure
    if nr_until_failure != 0:
        nr_until_failure -= 1
        if nr_until_failure == 0:
            return None
    return alloc_core_pages(0)
