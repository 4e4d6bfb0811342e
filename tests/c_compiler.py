"""A C compiler for tests: clang, of the wheel that brings our linker."""

import os
import subprocess
from pathlib import Path

from kpy.emit.link import zig

from tools.setup.paths import CACHE


def compile_c(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run clang for this machine, and keep what it said."""
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(CACHE / "zig")}
    command = [zig(), "cc", "-fno-sanitize=all", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
