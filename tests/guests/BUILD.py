"""The test kernels: `python -m kpy build guests` makes build/guest_*.elf."""

import runpy

program = runpy.run_path("libos/BUILD.py")["program"]

selftest = program("guest_selftest", "tests.guests.selftest", "guests")
errors = program("guest_errors", "tests.guests.errors", "guests")
