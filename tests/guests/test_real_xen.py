"""The ABI is real: the kernels that run on Proxen run on real Xen 4.17, the same files."""

import pytest

from tests.guests.test_guests import machine
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
