"""Measure an operation: 101 times, in ticks of the TSC, which under `-icount shift=0` are guest
instructions.

The cost of measuring, found with an operation that does nothing, is subtracted. Each operation
prints one line, `bench NAME MEDIAN MAX`, for the host to read.
"""

from kpy import Array, Fn, Slice, inline, static, struct, u8, u64

from libos.console import say
from libos.time import NS_PER_SECOND, rdtsc, system_time_ns

ITERATIONS = 101
KIB = 1024

samples = static(Array[u64, ITERATIONS])
overhead = static(u64)

Operation = Fn[[], None]


@struct
class Row:
    """An operation to measure, and what makes it possible to do it again."""

    name: Slice[u8]
    operation: Operation
    undo: Operation


def nothing() -> None:
    pass


def calibrate() -> None:
    """Find what measuring itself costs."""
    sample(nothing, nothing)
    set_overhead()


def set_overhead() -> None:
    """Take the median of the samples for what measuring costs."""
    global overhead
    sort_samples()
    overhead = samples[ITERATIONS // 2]


def measure_rows(rows: Slice[Row]) -> None:
    for row in rows:
        sample(row.operation, row.undo)
        report(row.name)


def sample(operation: Operation, undo: Operation) -> None:
    """Do the operation once for warmth and then fill the samples."""
    operation()
    undo()
    for i in range(ITERATIONS):
        start = rdtsc()
        operation()
        samples[i] = rdtsc() - start
        undo()


@inline
def put_sample(index: u64, ticks: u64) -> None:
    samples[index] = ticks


def report(name: Slice[u8]) -> None:
    sort_samples()
    median = samples[ITERATIONS // 2] - min(overhead, samples[ITERATIONS // 2])
    greatest = samples[ITERATIONS - 1] - min(overhead, samples[ITERATIONS - 1])
    say(f"bench {name} {median} {greatest}")


def report_rate(name: Slice[u8], nr_bytes: u64, start_ns: u64) -> None:
    """Print `rate NAME KIBPS`, in KiB a second since a time."""
    say(f"rate {name} {nr_bytes * NS_PER_SECOND // (system_time_ns() - start_ns) // KIB}")


def sort_samples() -> None:
    for i in range(1, ITERATIONS):
        ticks = samples[i]
        place: u64 = i
        while place > 0 and samples[place - 1] > ticks:
            samples[place] = samples[place - 1]
            place -= 1
        samples[place] = ticks
