"""Measure everything, in an order in which no part disturbs the next."""

from kpy import export, u64

from libos.bench import calls, emulated, grants, tables, trace, traps, user
from libos.bench.measure import calibrate, measure_rows

UPCALL_MASKED, UPCALL_OPEN = 1, 0


@export
def main() -> u64:
    """Print one line a row, and end."""
    calibrate()
    calls.prepare()
    measure_rows(calls.table[0 : len(calls.table)])
    tables.prepare()
    measure_rows(tables.table[0 : len(tables.table)])
    tables.prepare_unpin()
    measure_rows(tables.unpin_table[0 : len(tables.unpin_table)])
    grants.prepare()
    measure_rows(grants.map_table[0 : len(grants.map_table)])
    grants.prepare_unmap()
    measure_rows(grants.unmap_table[0 : len(grants.unmap_table)])
    emulated.prepare()
    measure_rows(emulated.table[0 : len(emulated.table)])
    traps.prepare()
    measure_rows(traps.table[0 : len(traps.table)])
    traps.unmask_port(UPCALL_MASKED)
    measure_rows(traps.off_table[0 : len(traps.off_table)])
    traps.unmask_port(UPCALL_OPEN)
    measure_rows(traps.on_table[0 : len(traps.on_table)])
    trace.prepare()
    measure_rows(trace.table[0 : len(trace.table)])
    trace.finish()
    user.prepare()
    user.measure_user()
    return 0
