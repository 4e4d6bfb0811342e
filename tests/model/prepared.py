"""What refusals in several rooms (test_errors_prepared_*.py) need done before."""

import abi

from kernel.frames.frame import MOST_REFERENCES
from tests.model.errors import Wrong, guest
from tests.model.guest import BASE, FIRST_DATA_PAGE, PAGE
from tests.model.picture import REFERENCES
from tests.model.test_errors_domctl import question

UPDATE_VA, MULTICALL = abi.__HYPERVISOR_update_va_mapping, abi.__HYPERVISOR_multicall
VCPU_OP, EVENT_OP = abi.__HYPERVISOR_vcpu_op, abi.__HYPERVISOR_event_channel_op
GRANT_OP, PHYSDEV_OP = abi.__HYPERVISOR_grant_table_op, abi.__HYPERVISOR_physdev_op


def dom0(why, call, error, first=None, leaves_trace=False):
    return Wrong(why, call, error, "dom0", first, leaves_trace)


def trace(cmd, **fields):
    return question(abi.XEN_SYSCTL_tbuf_op, tbuf_op={"cmd": cmd} | fields)


def with_rings(machine):
    call = trace(abi.XEN_SYSCTL_TBUFOP_set_size, size=1)
    assert machine.dom0.call(call[0], machine.dom0.put(call[1].type, **call[1].fields)) == 0


def unmapped(*numbers):
    """Let the caller have unmapped some of its pages."""

    def do(machine):
        for number in numbers:
            call = (UPDATE_VA, BASE + number * PAGE, 0, abi.UVMF_INVLPG)
            assert guest(machine).call(*call) == 0

    return do


def many_references(machine, left=0, whose=guest):
    """Let a page be referenced as often as it can be, but for `left`."""
    frame = machine.frame(whose(machine).pages[FIRST_DATA_PAGE])
    frame.info = frame.info & ~REFERENCES | (MOST_REFERENCES - left)


def at_end_of_memory(machine, data):
    """Put bytes in front of a page that is not mapped; return where."""
    unmapped(22)(machine)
    at = BASE + 22 * PAGE - len(data)
    guest(machine).write(at, data)
    return at
