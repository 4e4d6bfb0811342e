"""How libos programs are built: `python -m kpy build examples`, or one by name, makes
build/<name>.elf.

A program of your own is one more line: `my_kernel = program("my_kernel",
"my_directory.my_kernel")`.
"""

import runpy
from pathlib import Path

from kpy.front.target import Stack, Target

from linetable.encode import make_table

ASSEMBLY = ["libos/start.asm", "libos/probe.asm", "libos/memory_functions.asm"]
LAYOUT = runpy.run_path(str(Path(__file__).with_name("layout.py")))  # importing would build it in
ON_TOP = ["upcall_entry", "trap_common"]
STACKS = [
    Stack("boot stack", LAYOUT["STACK_BYTES"], ["start"], ON_TOP),
    Stack("stack of a thread", LAYOUT["STACK_BYTES"], ["libos.thread.begin_thread"], ON_TOP),
]


def program(name, module, group="examples", assembly=()):
    """A kernel made of libos and a module that exports `main`; `assembly` lists its own files."""
    return Target(
        name=name,
        group=group,
        roots=["libos.start", module],
        assembly=[*ASSEMBLY, *assembly],
        script="libos/libos.lds",
        symbol_table=make_table,
        stacks=STACKS,
    )


hello = program("hello", "libos.examples.hello")
readfile = program("readfile", "libos.examples.readfile")
echo = program("echo", "libos.examples.echo")
ping = program("ping", "libos.examples.ping")
bench_guest = program(
    "bench_guest", "libos.bench.main", group="bench", assembly=["libos/bench/traps.asm"]
)
bench_devices = program("bench_devices", "libos.bench.devices", group="bench")
