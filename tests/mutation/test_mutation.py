"""The mutation check of the checks on which isolation rests; `make mutate` tries all of them."""

from tests.mutation import run, scope, table

# What every domain's memory, events and rights depend on: all checks of these functions.
IMPORTANT = {
    "kernel/frames/page_type.py": "begin_type get_frame_type get_frame_and_type get_writable_frame",
    "kernel/paging/l1_entry.py": "bad_l1_flags get_l1e_frame",
    "kernel/paging/entry_update.py": "replace_l1e toggle_writable update_upper_entry",
    "kernel/paging/promote.py": "promote_child",
    "kernel/paging/entry.py": "is_core_slot",
    "kernel/paging/table_ref.py": "acquire_table",
    "kernel/frames/frame.py": "get_frame_of",
    "kernel/base/guest_memory.py": "guest_range_ok",
    "kernel/paging/mmu_update.py": "update_entry update_m2p",
    "kernel/paging/foreign.py": "may_act_on",
    "kernel/grant/pin.py": "pin_grant",
    "kernel/grant/l1_mapping.py": "create_grant_mapping",
    "kernel/grant/unmap.py": "detach",
    "kernel/grant/setup.py": "may_set_up",
    "kernel/evtchn/bind.py": "connect evtchn_bind_virq evtchn_bind_ipi",
    "kernel/evtchn/close.py": "close_port may_reset",
    "kernel/control/domctl.py": "do_domctl",
    "kernel/control/sysctl.py": "do_sysctl",
    "kernel/control/platform.py": "do_platform_op",
    "kernel/frames/descriptor_check.py": "checked_call_gate descriptors_okay",
    "kernel/memory/reservation.py": "is_reservation_okay",
}

# No refusal, but a result that only the slower tests of partial tables look at.
NOT_HERE = "kernel/frames/page_type.py begin_type: if info & PGT_partial: return TYPE_PARTIAL"
FILES = [
    *("tests/model/test_errors_mmu.py", "tests/model/test_errors_grant.py"),
    *("tests/model/test_errors_memory.py", "tests/model/test_errors_evtchn.py"),
    *("tests/model/test_errors_domctl.py", "tests/model/test_interrupted.py"),
    *("tests/model/test_race_checks.py", "tests/model/test_grant_remains.py"),
]


def test_no_important_check_can_be_removed():
    """For each of them some test fails without it."""
    chosen = {(file, name) for file, names in IMPORTANT.items() for name in names.split()}
    census = [check for check in scope.census() if check.key != NOT_HERE]
    checks = [check for check in census if (check.file, check.function) in chosen]
    missing = chosen - {(check.file, check.function) for check in checks}
    assert not missing, f"these functions have no checks any more: {missing}"
    assert len(checks) >= 40
    found = run.hunt(checks, FILES)
    reasons = table.read_reasons()
    lost = table.survivors(checks, found, reasons)
    assert not lost, "\n" + table.render(lost, found, reasons, lines=True)
