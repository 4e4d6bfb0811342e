"""Remove each check from the core, one at a time, and see which in-process test notices.

The core is compiled once with a switch in every check (kpy/lower/mutants.py). For each check a
child process switches it off and runs the tests in which it ever refuses something, cheapest
first. A check whose absence nobody notices is either untested or redundant: SURVIVED, and exit
code 1. Without arguments all checks are tried and tests/mutation/checks.txt is written; such a run
can be stopped, and goes on where it was if the tree is the same. The reasons for those that cannot
be missed are in tests/mutation/equivalent.txt.
"""

import argparse
import os
import sys

from kpy.lower.mutants import Check

from tests.mutation import keep, run, scope, table
from tools.run.build import run_module
from tools.setup.progress import fail, say, step

CORES = os.cpu_count() or 1

EXAMPLES = """examples:
  make mutate                                            all of it, and write checks.txt
  python -m tests.mutation --list kernel/evtchn          what there is to remove in these files
  python -m tests.mutation kernel/frames/page_type.py:104       the checks of one line
  python -m tests.mutation begin_type                    the checks of one function
  python -m tests.mutation --lost kernel/irq             what the last whole run left over there
  python -m tests.mutation grant --tests 'tests/unit/test_grant_*.py'
"""


def chosen(checks: list[Check], names: list[str]) -> list[Check]:
    """Return the checks that the command line names: by FILE, FILE:LINE, function, or text."""
    if not names:
        return checks
    found = [c for c in checks if any(is_named(c, name) for name in names)]
    if not found:
        raise fail(f"no check matches {' '.join(names)}: `--list` shows them all")
    return found


def is_named(check: Check, name: str) -> bool:
    """Tell whether a name of the command line means this check."""
    file, _, line = name.rpartition(":")
    if line.isdigit():
        return check.file.endswith(file) and check.line == int(line)
    return name == check.function or name in check.key


def main() -> int:
    """Do what the command line asks.

    Returns: the exit code, 1 when a check survived.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checks", nargs="*", help="FILE:LINE, function, or part of FILE or text")
    parser.add_argument("--lost", action="store_true", help="only what nobody noticed last time")
    parser.add_argument("--list", action="store_true", help="show the checks and try none")
    parser.add_argument("--tests", nargs="+", metavar="GLOB", help="only these test files")
    parser.add_argument("-j", type=int, default=CORES, metavar="N", help=f"workers ({CORES})")
    options = parser.parse_args()
    run_module("the ABI's glue", ["tools.abi"])
    with step("find every check of the core"):
        checks = chosen(every := scope.census(), options.checks)
    reasons = table.read_reasons()
    for key in reasons.keys() - {check.key for check in every}:
        say(f"there is a reason for what is no check any more: {key}")
    if options.lost:
        known = table.read_killers().keys() | reasons.keys()
        checks = [check for check in checks if check.key not in known]
    if options.list:
        print("\n".join(f"{c.file}:{c.line} {c.function}: {c.text}" for c in checks))
        return 0
    is_whole = checks == every and not options.tests
    files = scope.test_files(options.tests or scope.TESTS)
    found = run.hunt(checks, files, options.j, keep.folder() if is_whole else None)
    lost = table.survivors(checks, found, reasons)
    for key in sorted(key for key in reasons if found.get(key)):
        say(f"there is a reason for what a test notices: {key}")
    print(table.render(checks if options.checks else lost, found, reasons, lines=True))
    print(f"{len(checks)} checks: {table.nr_killed(found)} killed, {len(lost)} survived")
    if is_whole:
        table.write(checks, found, sorted(scope.OUTSIDE))
        keep.forget()
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
