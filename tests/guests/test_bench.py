"""Counted instructions are exact on any host, so a slower core is a failed test."""

import math

import pytest

from tools.bench import operations
from tools.bench.report import CALIBRATION
from tools.qemu.hosts import default_kind

pytestmark = pytest.mark.boot
MEAN = 0.7


@pytest.fixture(scope="module")
def ours():
    """What each operation costs, in one boot for all tests here."""
    if default_kind() != "proxen":
        pytest.skip("measures Proxen against real Xen's figures")
    return operations.count("proxen")


def test_tracing_costs_less_than_30_instructions_an_event(ours):
    plain, traced = ours["hypercall_xen_version"], ours["hypercall_xen_version_traced"]
    assert 0 < traced.value - plain.value < 2 * 30  # recorded as it begins and as it ends


def test_no_operation_costs_more_than_on_real_xen(ours):
    xen = operations.reference()
    assert ours.keys() >= xen.keys()
    ratios = {name: ours[name].value / xen[name].value for name in xen if name not in CALIBRATION}
    assert not {name: ratio for name, ratio in ratios.items() if ratio > 1}
    assert math.exp(sum(map(math.log, ratios.values())) / len(ratios)) <= MEAN
