"""The host JIT: kernel code as Python functions, for tests."""

from kpy.jit.loader import HOST_TRIPLE, CompileError, KpyPanic, Loaded, NotReplaced, load

__all__ = ["HOST_TRIPLE", "CompileError", "KpyPanic", "Loaded", "NotReplaced", "load"]
