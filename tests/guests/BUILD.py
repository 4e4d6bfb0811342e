"""The test kernels: `python -m kpy build guests` makes build/guest_*.elf."""

import runpy

program = runpy.run_path("libos/BUILD.py")["program"]

selftest = program("guest_selftest", "tests.guests.selftest", "guests")
hostile = program(
    "guest_hostile", "tests.guests.hostile", "guests", assembly=["tests/guests/wild.asm"]
)
traps = program("guest_traps", "tests.guests.traps", "guests", assembly=["tests/guests/traps.asm"])
errors = program("guest_errors", "tests.guests.errors", "guests")
probes = program(
    "guest_probes",
    "tests.guests.probes.main",
    "guests",
    assembly=["tests/guests/probes/second.asm", "tests/guests/traps.asm"],
)
interleave = program(
    "guest_interleave", "tests.guests.interleave", "guests", assembly=["tests/guests/spinner.asm"]
)
debuggee = program("guest_debuggee", "tests.guests.debuggee", "guests")
