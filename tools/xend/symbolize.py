"""Where addresses of a guest's kernel lie in its source, looked up by a process of its own.

The kernel's file is its owner's, and is read only after the guest crashed: whatever it says may
cost that process its time, its memory or its life, but xend no more than the names. They end up on
people's terminals, so they are cut and hold nothing but printable characters.
"""

import json
import logging
import os
import resource
import subprocess
import sys
from dataclasses import astuple

from dwarf.bytes import Truncated
from dwarf.source import Frame, SourceMap

CPU_S = 30
PATIENCE = 4  # times as long on the clock: others run too
MEMORY_BYTES = 512 << 20
TEXT_MAX = 200
FRAMES_MAX = 16  # of one address: the function and what was inlined into it

log = logging.getLogger("xend")


def find_frames(path, addresses, cpu_s=CPU_S):
    """Return {address: its Frames, innermost first}; an address that is missing has no name.

    Args: path: the kernel's ELF file; cpu_s: processor time that the look-up may take.
    """
    request = json.dumps({"path": path, "addresses": addresses, "cpu_s": cpu_s})
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "xend.symbolize"],
            input=request,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            timeout=PATIENCE * cpu_s,
            check=True,
        )
        found = zip(addresses, json.loads(done.stdout), strict=True)
        return {address: [Frame(*frame) for frame in frames] for address, frames in found}
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        log.warning("no names for the backtrace: %s", error)
        return {}


def main():
    """Answer the request on stdin."""
    request = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_CPU, (request["cpu_s"], request["cpu_s"]))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        source = SourceMap(request["path"])
    except (OSError, Truncated) as error:
        sys.exit(str(error))
    found = [source.find(address)[-FRAMES_MAX:] for address in request["addresses"]]
    json.dump([[astuple(printable(frame)) for frame in frames] for frames in found], sys.stdout)


def printable(frame):
    """Return a Frame with texts that a terminal can bear."""
    file = None if frame.file is None else clean(frame.file)
    return Frame(clean(frame.function), frame.offset, file, frame.line)


def clean(text):
    """Cut a text, and replace what is no printable character."""
    return "".join(c if c.isprintable() else "?" for c in text[:TEXT_MAX])


if __name__ == "__main__":
    main()
