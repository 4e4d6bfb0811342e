"""What each hypercall says to bad arguments; the expectations are real Xen 4.17's, where this
program runs, too.
"""

from kpy import export, u64

from tests.guests.kernels.errors_evtchn import test_event_channels
from tests.guests.kernels.errors_grant import test_grants
from tests.guests.kernels.errors_memory import test_memory_op
from tests.guests.kernels.errors_misc import test_misc
from tests.guests.kernels.errors_mmu import test_page_tables
from tests.guests.kernels.errors_vcpu import test_sched, test_vcpu
from tests.guests.kernels.report import verdict


@export
def main() -> u64:
    test_event_channels()
    test_grants()
    test_page_tables()
    test_memory_op()
    test_vcpu()
    test_sched()
    test_misc()
    return verdict()
