"""How long anything may take before it counts as hanging.

Whoever waits, waits for an event, and this is only the watchdog behind it. It has nothing to do
with how long the event takes: a host with other work may be ten times slower than an idle one.
"""

PATIENCE_S = 900
