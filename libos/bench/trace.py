"""What tracing costs: a hypercall that is recorded as it begins and as it ends.

The ring is long enough for every sample, since nobody reads it.
"""

import abi
from kpy import Array, ref, static, u32, u64

from libos.bench.measure import Row
from libos.bench.rows import Rows
from libos.hypercall import hypercall

RING_PAGES = 64

rows = Rows()
request = static(abi.xen_sysctl)


def prepare() -> None:
    """Make the rings and start a trace of hypercalls."""
    trace_op(abi.XEN_SYSCTL_TBUFOP_set_size, RING_PAGES)
    request.u.tbuf_op.evt_mask = abi.TRC_PV_ENTRY
    trace_op(abi.XEN_SYSCTL_TBUFOP_set_evt_mask, 0)
    trace_op(abi.XEN_SYSCTL_TBUFOP_enable, 0)


def finish() -> None:
    """End the trace."""
    trace_op(abi.XEN_SYSCTL_TBUFOP_disable, 0)


def trace_op(cmd: u32, size: u32) -> None:
    """Control the trace; only domain 0 may."""
    request.cmd = abi.XEN_SYSCTL_tbuf_op
    request.interface_version = abi.XEN_SYSCTL_INTERFACE_VERSION
    request.u.tbuf_op.cmd = cmd
    request.u.tbuf_op.size = size
    result = hypercall(abi.__HYPERVISOR_sysctl, u64(ref(request)), 0, 0, 0, 0)
    assert result == 0, "the hypervisor refuses to trace"


@rows.row("hypercall_xen_version_traced")
def version_traced() -> None:
    hypercall(abi.__HYPERVISOR_xen_version, abi.XENVER_version, 0, 0, 0, 0)


table = static(Array[Row, len(rows)], rows)
