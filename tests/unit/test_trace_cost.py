"""What tracing costs while it is off: an instruction that looks, and a branch not taken."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOOK = re.compile(r"testb\t\$\d+, kernel\.trace\.turn\.traced_subclasses\+\d+\(%rip\)")
BRANCH = re.compile(r"jn?e\t")
PLACES = [
    ("kernel/entry/hypercall.py", "syscall_from_guest"),
    ("kernel/entry/trap.py", "trap_from_guest"),
    ("kernel/irq/irq.py", "interrupt_from_guest"),
    ("kernel/sched/wake.py", "kernel.sched.wake.vcpu_block"),
]


def instructions(file, symbol):
    """Return a function's instructions as LLVM wrote them."""
    done = subprocess.run(
        [sys.executable, "-m", "kpy", "dump", "--stage=asm", file, symbol.split(".")[-1]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    body = done.stdout.split(f"\n{symbol}:\n")[1].split(".Lfunc_end")[0]
    return [line.strip() for line in body.splitlines() if re.match(r"\t[a-z]", line)]


@pytest.mark.parametrize(("file", "symbol"), PLACES)
def test_an_event_that_nobody_traces_costs_a_test_and_a_branch(file, symbol):
    body = instructions(file, symbol)
    looks = [i for i, line in enumerate(body) if "traced_subclasses" in line]
    assert looks
    for i in looks:
        assert LOOK.match(body[i]), body[i]
        assert any(BRANCH.match(line) for line in body[i + 1 : i + 4]), body[i : i + 4]
