"""How long anything may take before it counts as hanging.

Whoever waits, waits for an event, and this is only the watchdog behind it. It has nothing to do
with how long the event takes: a host with other work may be ten times slower than an idle one.
"""

import os

PATIENCE_S = 1800


def crowd() -> float:
    """Return how many times longer than on an idle host things take now, at least 1: how much wants
    to run, for each processor, over the last minute.
    """
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
