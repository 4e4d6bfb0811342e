"""Sourced by gdb for `make debug`: the core's types and the `proxen` commands.

Runs in the Python that Debian's gdb has built in, without our virtual environment; the constants
come from the kernel's own modules, which are ordinary Python.
"""

import sys
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT / "tools/gdb", ROOT / "tools", ROOT / "build/gen", ROOT):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import proxen_commands  # noqa: E402
import proxen_printers  # noqa: E402

proxen_printers.register()
proxen_commands.register()
