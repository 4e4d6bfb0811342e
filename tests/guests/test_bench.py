"""Counted instructions are exact on any host, so a slower core is a failed test."""

import math

import pytest

from tools.bench import operations
from tools.bench.report import CALIBRATION
from tools.qemu.hosts import default_kind

pytestmark = pytest.mark.boot
MEAN = 0.7


@pytest.mark.skipif(default_kind() != "proxen", reason="measures Proxen against real Xen's figures")
def test_no_operation_costs_more_than_on_real_xen():
    xen, ours = operations.reference(), operations.count("proxen")
    assert ours.keys() >= xen.keys()
    ratios = {name: ours[name].value / xen[name].value for name in xen if name not in CALIBRATION}
    assert not {name: ratio for name, ratio in ratios.items() if ratio > 1}
    assert math.exp(sum(map(math.log, ratios.values())) / len(ratios)) <= MEAN
