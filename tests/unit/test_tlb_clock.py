"""The TLB clock: a processor that has not flushed since a stamp is never left out."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kpy import jit

from kernel.x86.percpu import Pcpu

NR_CPUS = 4


@pytest.fixture(scope="module")
def program():
    areas = []
    replace = {
        "kernel.x86.percpu.cpu_by_id": lambda cpu: areas[cpu],
        "kernel.x86.percpu.online_cpus": lambda: (1 << NR_CPUS) - 1,
        "kernel.x86.cpu.read_cr3": lambda: 0,
        "kernel.x86.cpu.write_cr3": lambda value: None,
    }
    program = jit.load("kernel.x86.tlb", replace=replace)
    areas.extend(program.new(Pcpu) for _ in range(NR_CPUS))
    program.areas = areas
    return program


steps = st.lists(st.one_of(st.integers(0, NR_CPUS - 1), st.just("stamp")), max_size=40)


@settings(max_examples=200, deadline=None)
@given(start=st.sampled_from([0, 1, (1 << 32) - 3, (1 << 33) + 5]), steps=steps)
def test_whoever_has_not_flushed_must(program, start, steps):
    """Flushes and stamps in any order, around the place where the stamps' 32 bits wrap."""
    program.flush_clock.value = start
    for cpu in program.areas:
        cpu.flush_time = 0
    stamps = []  # (stamp, the processors that have flushed since)
    for step in steps:
        if step == "stamp":
            stamps.append((program.tlb_clock_now(), set()))
        else:
            program.note_flush_start(program.areas[step])
            for _, flushed in stamps:
                flushed.add(step)
    for stamp, flushed in stamps:
        needing = program.cpus_needing_flush((1 << NR_CPUS) - 1, stamp)
        assert needing == sum(1 << cpu for cpu in range(NR_CPUS) if cpu not in flushed)


def test_an_entry_is_gone_before_the_clock_is_read():
    """A plain store could still wait in the processor: another one ticks, flushes, finds the old
    entry once more, and the stamp is older than its flush.
    """
    done = subprocess.run(
        [sys.executable, "-m", "kpy", "dump", "--stage=asm", "kernel/paging/update_va.py"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    symbol = "\nkernel.paging.update_va.do_update_va_mapping.entry:\n"
    body = done.stdout.split(symbol)[1].split(".Lfunc_end")[0]
    assert "\txchgq\t" in body
