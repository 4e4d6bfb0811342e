"""Builds everything: the ABI's glue, then the core and the kernels on libos beside dom0's image.

Each builder knows by itself what is fresh, so an unchanged tree costs little more than asking.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.image.build import Image, build_image
from tools.setup.paths import CORE, GEN, ROOT, TOOLS
from tools.setup.progress import fail, step


def build_all() -> Image:
    """Build what is not fresh, the test guests and the benchmark's too.

    Returns: what dom0 boots from.
    Errors: SystemExit, a builder failed; it has said why.
    """
    return _build("all")


def build_to_run() -> Image:
    """Build what it takes to boot and to run the examples.

    Returns: what dom0 boots from.
    Errors: as build_all.
    """
    return _build("core", "examples")


def _build(*targets: str) -> Image:
    """Build programs and image at the same time: neither needs the other, only the ABI's glue."""
    build_glue()
    with ThreadPoolExecutor(1) as beside:
        image = beside.submit(build_image)
        _compile(*targets)
        return image.result()


def build_core() -> Path:
    """Build the hypervisor core alone.

    Returns: its bootable image.
    """
    build_programs("core")
    return CORE


def build_programs(*targets: str) -> None:
    """Build the ABI's glue and targets, or groups of targets, of the BUILD.py files."""
    build_glue()
    _compile(*targets)


def build_glue() -> None:
    """Build what the ABI's headers say, for core, libos and toolstack."""
    run_module("the ABI's glue", ["tools.abi"])


def _compile(*targets: str) -> None:
    for target in targets:
        run_module(f"programs ({target})", ["kpy", "build", target])


def run_module(name: str, arguments: list[str]) -> None:
    """Run a Python module of the tree as a build step; what it prints is shown if it fails."""
    path = os.pathsep.join(map(str, (ROOT, TOOLS, GEN)))
    environment = os.environ | {"PYTHONPATH": path}
    command = [sys.executable, "-m", *arguments]
    with step(f"build {name}"):
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise fail(f"could not build {name}")
