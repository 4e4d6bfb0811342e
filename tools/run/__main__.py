"""`python -m tools.run build|example|up|down|debug`: what the Makefile's targets do."""

import sys

from tools.qemu.machine import MachineFailure
from tools.run import current
from tools.run.build import build_all, build_to_run
from tools.run.debug import debug
from tools.run.example import run_example
from tools.setup.progress import say

COMMANDS = {
    "build": lambda: build_all() and None,
    "example": lambda: run_example(build_to_run()),
    "up": lambda: current.up(build_to_run()),
    "down": current.down,
    "debug": lambda: debug(build_to_run()),
}


def main(words: list[str]) -> int:
    """Run one command.

    Returns: the exit code; 2 for wrong usage.
    """
    if len(words) != 1 or words[0] not in COMMANDS:
        say(f"usage: python -m tools.run {'|'.join(COMMANDS)}")
        return 2
    try:
        return COMMANDS[words[0]]() or 0
    except MachineFailure as failure:
        say(str(failure))
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
