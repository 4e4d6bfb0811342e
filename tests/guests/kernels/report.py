"""How a test kernel tells what it found: a line a failure, and one last line, `guest: pass, N
checks` or `guest: FAIL …`.
"""

from kpy import Slice, i64, static, u8, u64

from libos.console import say

nr_checks = static(u64)
nr_failures = static(u64)


def check(name: Slice[u8], condition: bool) -> None:
    """Count a condition that must hold."""
    global nr_checks, nr_failures
    nr_checks += 1
    if not condition:
        nr_failures += 1
        say(f"FAIL {name}")


def expect(name: Slice[u8], result: i64, expected: i64) -> None:
    """Count a hypercall's result, which must be this one."""
    global nr_checks, nr_failures
    nr_checks += 1
    if result != expected:
        nr_failures += 1
        say(f"FAIL {name}: {result}, expected {expected}")


def verdict() -> u64:
    """Print the last line.

    Returns: the exit code of the program.
    """
    if nr_failures == 0:
        say(f"guest: pass, {nr_checks} checks")
        return 0
    say(f"guest: FAIL, {nr_failures} of {nr_checks} checks")
    return 1
