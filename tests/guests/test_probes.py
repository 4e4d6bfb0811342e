"""Every wrong request gets the answer that real Xen 4.17 gives."""

from pathlib import Path

import pytest

from tests.guests.test_guests import machine

REFERENCE = Path(__file__).parent / "probes" / "xen-4.17.txt"
BOOT_S = 60

pytestmark = pytest.mark.boot


def test_answers_are_those_of_real_xen():
    with machine("guest_probes") as m:
        m.wait_for(r"^probes done", BOOT_S)
        answers = [line for line in m.serial.text().splitlines() if line.startswith("probe ")]
    assert answers == REFERENCE.read_text().splitlines()
