"""Builds everything, in order: the ABI's glue, the core and the kernels on libos, dom0's image.

Each builder knows by itself what is fresh, so an unchanged tree costs little more than asking.
"""

import os
import subprocess
import sys

from tools.image.build import Image, build_image
from tools.setup.paths import GEN, ROOT, TOOLS
from tools.setup.progress import fail, step

STEPS = (
    ("the ABI's glue", ["tools.abi"]),
    ("the core and the kernels", ["kpy", "build", "all"]),
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
    """Run a Python module of the tree as a step of the build; what it prints is shown if it fails."""
    path = os.pathsep.join(map(str, (ROOT, TOOLS, GEN)))
    environment = os.environ | {"PYTHONPATH": path}
    command = [sys.executable, "-m", *arguments]
    with step(f"build {name}"):
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise fail(f"could not build {name}")
