"""Reads what compilers leave for debuggers in an ELF file: functions, lines, inlined calls.

Plain Python without packages: it runs in the build, in dom0's xend, and in the tools that watch a
machine. `dwarf.source.SourceMap` is what callers want; the other modules are one table each.
"""
