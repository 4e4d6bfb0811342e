"""`make debug`: a machine that waits at the core's first Python line, and gdb attached to it.

gdb reaches QEMU by a Unix socket in the run folder and starts with a script of ours (-x), so
neither a port nor a .gdbinit nor a safe path is needed. `tools/gdb/core.py` teaches it the core's
types and the `proxen` commands.
"""

import argparse
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from xm import kallsyms

from tools.image.build import build_image
from tools.qemu.config import Config
from tools.qemu.hosts import KINDS, default_kind, dom0_machine, hypervisor
from tools.qemu.machine import Machine
from tools.qemu.repeatable import repeatable, seed_number
from tools.run.build import build_programs
from tools.run.repeat import example_machine
from tools.setup.paths import BUILD, ROOT, TOOLS, VMLINUX
from tools.setup.programs import install_line
from tools.setup.progress import fail, say

SYMBOLS = BUILD / "proxen.elf"
FIRST_FUNCTION = "start_core"
TOY_ARGS = "dom0_mem=512M console=com1"
SETTINGS = """\
set debuginfod enabled off
set confirm off
set print pretty on
set remotetimeout 60
"""
EPILOG = """examples:
  make debug                                   dom0's Linux on Proxen
  make debug KERNEL=build/hello.elf            a toy kernel in dom0's place: starts in a second
  make debug KERNEL="build/echo.elf mode=x"    with a command line
  make debug HV=xen                            real Xen, without symbols
  make debug SEED=7                            what `make run SEED=7` does, the same each time
  python -m tools.run debug --kernel build/hello.elf -- -batch -ex backtrace

In gdb: `break evtchn_send`, `break kernel/evtchn/channel.py:118`, `continue`, `proxen help`; with
a toy kernel `break main` stops in the guest, in the same session."""


def parse(words: list[str]) -> argparse.Namespace:
    """Read the command line of `python -m tools.run debug`."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.run debug",
        description="Boot a machine that waits for gdb, and run gdb on the core.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kernel", metavar="'FILE ARGS'", help="a toy kernel for dom0")
    parser.add_argument("--hv", choices=KINDS, default=default_kind(), help="what to debug")
    parser.add_argument("--cpus", type=int, default=2, help="physical CPUs (default: 2)")
    parser.add_argument(
        "--seed", type=seed_number, metavar="N", help="a repeatable machine, as in make run SEED=N"
    )
    parser.add_argument("--reset", action="store_true", help="wait at the processor's reset")
    parser.add_argument("gdb_argument", nargs="*", help="arguments for gdb, after --")
    return parser.parse_args(words)


def debug(words: list[str]) -> int:
    """Run gdb on a machine until the person leaves it; the machine ends with gdb.

    Returns: gdb's exit status.
    """
    options = parse(words)
    gdb = shutil.which("gdb")
    if gdb is None:
        raise fail(f"gdb is not installed; install it with `{install_line(['gdb'])}`")
    machine_config = toy_machine(options) if options.kernel else linux_machine(options)
    with Machine(machine_config) as machine:
        log = (machine.folder / "serial.log").relative_to(ROOT)
        say(f"the serial console is in {log}; the machine ends when you leave gdb")
        script = machine.folder / "gdb.script"
        script.write_text(commands(options, machine.folder))
        command = [gdb, "-q", "-nx", "-x", str(script), *options.gdb_argument]
        return subprocess.run(command, cwd=ROOT).returncode


def toy_machine(options: argparse.Namespace) -> Config:
    """Return a machine whose domain 0 is a toy kernel. Errors: SystemExit, there is no such file.

    An example or test kernel of ours is built if it is not fresh.
    """
    build_programs("core")
    path, _, arguments = options.kernel.partition(" ")
    kernel = Path(path).resolve()
    if kernel.parent == BUILD:
        build_programs(kernel.stem)
    if not kernel.exists():
        raise fail(f"there is no kernel {path}; build the examples with `make build`")
    config = Config(
        name="debug",
        kernel=kernel,
        hypervisor=hypervisor(options.hv),
        hypervisor_args=TOY_ARGS,
        kernel_args=arguments,
        nic=None,
        cpus=options.cpus,
        gdb=True,
        extra=("-S",),
    )
    return config if options.seed is None else repeatable(config, options.seed)


def linux_machine(options: argparse.Namespace) -> Config:
    """Return a machine with dom0's Linux; with a seed, the one that runs the example by itself."""
    build_programs("core", "examples")
    image = build_image()
    if options.seed is not None:
        config = example_machine(options.hv, image, options.seed)
        return replace(config, name="debug", gdb=True, extra=(*config.extra, "-S"))
    return dom0_machine(options.hv, "debug", image, cpus=options.cpus, gdb=True, extra=("-S",))


def commands(options: argparse.Namespace, folder: Path) -> str:
    """Return the commands with which gdb starts, in the tree's folder: what that is called, with
    spaces perhaps, is in none of the paths.
    """
    lines = [SETTINGS.rstrip(), "directory ."]
    ours = options.hv == "proxen"
    if ours:
        lines += [f"file {_from_tree(SYMBOLS)}", f"source {_from_tree(TOOLS / 'gdb/core.py')}"]
    kernel = Path(options.kernel.partition(" ")[0]).resolve() if options.kernel else VMLINUX
    lines.append(f'add-symbol-file "{_from_tree(kallsyms.file_for_gdb(kernel, folder))}"')
    lines.append(f"target remote {_from_tree(folder / 'gdb.sock')}")
    if ours and not options.reset:
        lines += [f"thbreak {FIRST_FUNCTION}", "continue"]
    return "\n".join(lines) + "\n"


def _from_tree(path: Path) -> str:
    return os.path.relpath(path, ROOT)
