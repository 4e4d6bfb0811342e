"""Sourced by gdb for `xm gdb`: kernel Python's types in a guest made with libos."""

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import proxen_printers  # noqa: E402

proxen_printers.register()
