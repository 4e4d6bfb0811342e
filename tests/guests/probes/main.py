"""Asks the hypervisor for everything that it offers, rightly and wrongly, and prints the answers: a
transcript to lay beside another hypervisor's.

What real Xen 4.17 answered is in xen-4.17.txt beside this file; `make compare` asks it again.
"""

from kpy import Array, Fn, Slice, export, i64, static, struct, u8, u64

from libos.console import say
from tests.guests.probes import calls, events, grants, ground, mmu, tables, transcript
from tests.guests.probes.channels import ask_channels
from tests.guests.probes.devices import ask_devices
from tests.guests.probes.entries import ask_callbacks, ask_debug_registers, ask_segment_bases
from tests.guests.probes.scheduling import ask_scheduling
from tests.guests.probes.transcript import tell
from tests.guests.probes.vcpus import ask_vcpus
from tests.guests.probes.versions import ask_assists, ask_versions


@struct
class Probe:
    name: Slice[u8]
    request: Fn[[], i64]


every = [*mmu.probes, *tables.probes, *events.probes, *grants.probes, *calls.probes]
table = static(Array[Probe, len(every)], every)


@export
def main() -> u64:
    ground.prepare()
    for probe in table:
        tell(probe.name, probe.request())
    ask_versions()
    ask_assists()
    ask_scheduling()
    ask_vcpus()
    ask_channels()
    ask_callbacks()
    ask_debug_registers()
    ask_segment_bases()
    ask_devices()
    say(f"probes done: {transcript.nr_lines}")
    return 0
