"""Asks the hypervisor for everything that it offers, rightly and wrongly, and prints the answers: a
transcript to lay beside another hypervisor's.

What real Xen 4.17 answered is in xen-4.17.txt beside this file; `make compare` asks it again.
"""

from kpy import Array, Fn, Slice, export, i64, static, struct, u8, u64

from libos.console import say
from tests.guests.kernels.probes import (
    calls,
    domains,
    events,
    grants,
    ground,
    mmu,
    tables,
    transcript,
)
from tests.guests.kernels.probes.channels import ask_channels
from tests.guests.kernels.probes.devices import ask_devices
from tests.guests.kernels.probes.entries import (
    ask_callbacks,
    ask_debug_registers,
    ask_segment_bases,
)
from tests.guests.kernels.probes.exceptions import ask_exceptions
from tests.guests.kernels.probes.granted import ask_grants
from tests.guests.kernels.probes.memories import ask_memories, ask_sysctls
from tests.guests.kernels.probes.page_tables import ask_page_tables
from tests.guests.kernels.probes.scheduling import ask_scheduling
from tests.guests.kernels.probes.transcript import tell
from tests.guests.kernels.probes.unprivileged import ask_events, ask_privileges
from tests.guests.kernels.probes.vcpus import ask_vcpus
from tests.guests.kernels.probes.versions import ask_assists, ask_versions


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
    ask_page_tables()
    ask_exceptions()
    ask_memories()
    ask_sysctls()
    ask_second_domain()
    say(f"probes done: {transcript.nr_lines}")
    return 0


def ask_second_domain() -> None:
    """The whole life of another domain."""
    domains.ask_domctl()
    domains.ask_creation()
    domains.ask_new_domain()
    domains.ask_memory()
    domains.ask_sizes_and_clocks()
    domains.ask_placement()
    domains.ask_registers()
    domains.ask_start()
    ask_privileges()
    ask_events()
    ask_grants()
    domains.ask_debugger()
    domains.ask_end()
