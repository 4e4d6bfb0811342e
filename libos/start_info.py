"""What the domain builder told: the start_info page, whose address is in rsi at entry. Source: Xen
public ABI, xen.h.
"""

import abi
from kpy import Ptr, inline, static

start_info_page = static(Ptr[abi.start_info] | None)


def remember_start_info(page: Ptr[abi.start_info]) -> None:
    global start_info_page
    start_info_page = page


@inline
def boot() -> Ptr[abi.start_info]:
    """The start_info page; it stays where the builder put it."""
    page = start_info_page
    assert page is not None
    return page


def is_initial_domain() -> bool:
    """Whether this program runs as dom0, with the machine's console and without xenstore."""
    return boot().flags & abi.SIF_INITDOMAIN != 0
