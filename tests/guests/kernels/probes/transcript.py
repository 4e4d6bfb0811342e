"""How the probes tell what they found: one line for each thing, `NAME: VALUE`.

The first word of a name is the ABI's name of the operation; the rest says the situation. No two
lines have the same name, so two transcripts can be laid side by side. What a machine is free to
choose (frame numbers, times) is never printed: a relation to something known is.
"""

import abi
from kpy import Array, Slice, i16, i64, static, struct, u8, u64

from libos.console import say

NR_ERRORS = 128


@struct
class ErrorName:
    text: Slice[u8]


ERRORS = {
    value: name.removeprefix("XEN_")
    for name, value in reversed(vars(abi).items())
    if name.startswith("XEN_E") and isinstance(value, int) and getattr(abi, name[4:], 0) == value
}
error_names = static(
    Array[ErrorName, NR_ERRORS],
    [{"text": ERRORS.get(number, "unknown").encode()} for number in range(NR_ERRORS)],
)
STATUSES = {
    -value: name
    for name, value in vars(abi).items()
    if name.startswith("GNTST_") and isinstance(value, int)
}
NR_STATUSES = max(STATUSES) + 1
status_names = static(
    Array[ErrorName, NR_STATUSES],
    [{"text": STATUSES.get(number, "GNTST_unknown").encode()} for number in range(NR_STATUSES)],
)
nr_lines = static(u64)


def tell(name: Slice[u8], result: i64) -> None:
    """Print a hypercall's result: a number, or the name of an error."""
    global nr_lines
    nr_lines += 1
    if -NR_ERRORS < result < 0:
        say(f"= {name}: -{error_names[u64(-result)].text}")
    else:
        say(f"= {name}: {result}")


def tell_each(name: Slice[u8], number: u64, result: i64) -> None:
    """Print the result of one of several like requests that differ by a number."""
    global nr_lines
    nr_lines += 1
    if -NR_ERRORS < result < 0:
        say(f"= {name} {number:#x}: -{error_names[u64(-result)].text}")
    else:
        say(f"= {name} {number:#x}: {result}")


def fact(name: Slice[u8], value: u64) -> None:
    """Print a number that must be the same on every machine."""
    global nr_lines
    nr_lines += 1
    say(f"= {name}: {value:#x}")


def fact_each(name: Slice[u8], number: u64, value: u64) -> None:
    """Print one of several numbers."""
    global nr_lines
    nr_lines += 1
    say(f"= {name} {number:#x}: {value:#x}")


def truth(name: Slice[u8], holds: bool) -> None:
    """Print whether something holds."""
    global nr_lines
    nr_lines += 1
    answer: Slice[u8] = b"yes" if holds else b"no"
    say(f"= {name}: {answer}")


def tell_status(name: Slice[u8], result: i64, status: i16) -> None:
    """Print the status of a grant operation, or the error of the call itself."""
    global nr_lines
    if result != 0 or status > 0 or i64(status) <= -NR_STATUSES:
        tell(name, result if result != 0 else i64(status))
        return
    nr_lines += 1
    say(f"= {name}: {status_names[u64(-i64(status))].text}")
