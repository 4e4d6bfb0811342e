"""Where things are in the second domain, shared by Python and assembly."""

from libos.layout import PAGE_SIZE, VIRT_BASE

PAGES = (
    "code",
    "mailbox",
    "stack",
    "hypercalls",
    "l4",
    "l3",
    "l2",
    "l1",
    "data",
    "shared_info",
    "more_data",
    "hole",
    "spare",
    "vcpu_info",
    "grants",
    "last",
)
NR_PAGES = len(PAGES)
SECOND_BASE = VIRT_BASE


def page_number(name):
    """The page of this name."""
    return PAGES.index(name)


def address(name):
    """Where the second domain sees the page."""
    return SECOND_BASE + PAGE_SIZE * page_number(name)


MAILBOX = address("mailbox")
HYPERCALLS = address("hypercalls")
REQUEST_NONE, REQUEST_CALL, REQUEST_LOAD, REQUEST_STORE, REQUEST_DIE = range(5)
BUFFER_OFFSET = 1024  # in the mailbox: structures for hypercalls
