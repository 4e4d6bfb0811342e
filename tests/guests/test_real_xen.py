"""The ABI is real: the kernels that run on Proxen run on real Xen 4.17, the same files."""

import re

import pytest

from tests.guests.test_guests import console_of_overflow, machine
from tools.setup.patience import PATIENCE_S

pytestmark = [pytest.mark.boot, pytest.mark.real_xen]


@pytest.mark.parametrize(
    ("kernel", "line"),
    (
        ("hello", r"^Hello, world: a kernel with 65536 pages, dom0"),
        ("readfile", r"^readfile: a kernel of 50 lines, with a disk"),
        ("guest_selftest", r"^guest: pass"),
    ),
)
def test_our_kernels_run_on_real_xen(kernel, line):
    with machine(kernel, kind="xen") as m:
        m.wait_for(line, PATIENCE_S)


@pytest.mark.parametrize(("how", "thread"), (("boot", "0"), ("thread", "1")))
def test_running_over_a_stack_is_reported_on_real_xen(how, thread):
    report = console_of_overflow(how, "xen").partition(f"stack overflow in thread {thread}")[2]
    assert re.search(r"large_frame\+0x(?s:.*)(overflow_here|begin_thread)", report)
