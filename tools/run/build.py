"""Builds everything, in order: the ABI's glue, the core, the example kernels, dom0's image.

Each builder knows by itself what is fresh, so an unchanged tree costs little more than asking.
"""

import os
import subprocess
import sys

from tools.image.build import Image, build_image
from tools.setup.paths import GEN, ROOT, TOOLS
from tools.setup.progress import fail

STEPS = (
    ("the ABI's glue", ["tools.abi"]),
    ("the core", ["kpy", "build", "core"]),
    ("the example kernels", ["kpy", "build", "examples"]),
)


def build_all() -> Image:
    """Build what is not fresh.

    Returns: what dom0 boots from.
    Errors: SystemExit, a builder failed; it has said why.
    """
    for name, arguments in STEPS:
        run_module(name, arguments)
    return build_image()


def run_module(name: str, arguments: list[str]) -> None:
    """Run a Python module of the tree as a step of the build; its output is ours."""
    path = os.pathsep.join(map(str, (ROOT, TOOLS, GEN)))
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, env=environment)
    if done.returncode:
        raise fail(f"could not build {name}")
