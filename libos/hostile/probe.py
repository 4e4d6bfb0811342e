"""Probes: single wrong requests, each with its answer printed as `probe NAME RESULT`.

The transcript on real Xen 4.17 is the reference: tests/guests/hostile-probes.txt.
"""

from kpy import Array, Fn, Slice, i64, static, struct, u8

from libos.console import say
from libos.hostile import ground, probes_calls, probes_event, probes_grant, probes_mmu, probes_table


@struct
class Probe:
    name: Slice[u8]
    request: Fn[[], i64]


every = [
    *probes_mmu.probes,
    *probes_table.probes,
    *probes_event.probes,
    *probes_grant.probes,
    *probes_calls.probes,
]
table = static(Array[Probe, len(every)], every)


def run_probes() -> None:
    ground.prepare()
    for probe in table:
        result = probe.request()
        say(f"probe {probe.name} {result}")
    say(f"probes done: {len(table)}")
