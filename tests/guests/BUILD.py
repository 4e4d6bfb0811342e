"""The test kernels: `python -m kpy build guests` makes build/guest_*.elf."""

import runpy
from pathlib import Path

program = runpy.run_path(str(Path(__file__).parents[2] / "libos/BUILD.py"))["program"]

selftest = program("guest_selftest", "tests.guests.kernels.selftest", "guests")
hostile = program(
    "guest_hostile",
    "tests.guests.kernels.hostile",
    "guests",
    assembly=["tests/guests/kernels/wild.asm"],
)
traps = program(
    "guest_traps",
    "tests.guests.kernels.traps",
    "guests",
    assembly=["tests/guests/kernels/traps.asm"],
)
errors = program("guest_errors", "tests.guests.kernels.errors", "guests")
probes = program(
    "guest_probes",
    "tests.guests.kernels.probes.main",
    "guests",
    assembly=["tests/guests/kernels/probes/second.asm", "tests/guests/kernels/traps.asm"],
)
interleave = program(
    "guest_interleave",
    "tests.guests.kernels.interleave",
    "guests",
    assembly=["tests/guests/kernels/spinner.asm"],
)
debuggee = program("guest_debuggee", "tests.guests.kernels.debuggee", "guests")
overflow = program(
    "guest_overflow",
    "tests.guests.kernels.overflow",
    "guests",
    assembly=["tests/guests/kernels/overflow.asm"],
)
