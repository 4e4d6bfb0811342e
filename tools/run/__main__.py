"""`python -m tools.run build|example|up|down|debug [--seed N]`: what the Makefile's targets do."""

import argparse
import sys

from tools.image.build import Image
from tools.qemu.machine import MachineFailure
from tools.qemu.repeatable import seed_number
from tools.run import current
from tools.run.build import build_all, build_to_run
from tools.run.debug import debug
from tools.run.example import run_example
from tools.run.repeat import run_repeatably
from tools.setup.plain import plain_errors
from tools.setup.progress import say

COMMANDS = {
    "build": lambda seed: build_all() and None,
    "example": lambda seed: example(build_to_run(), seed),
    "up": lambda seed: current.up(build_to_run(), seed),
    "down": lambda seed: current.down(),
}
SEEDED = ("example", "up")
SEED_HELP = """example: a repeatable run, the same to the last character each time; up: a machine
whose time slices and RDRAND come from the seed, the rest is live"""
EPILOG = "`debug` has options of its own: python -m tools.run debug --help"


def example(image: Image, seed: int | None) -> int:
    """Run the example: on a machine like `make up`'s, or with a seed on a repeatable one."""
    return run_example(image) if seed is None else run_repeatably(image, seed)


def options(words: list[str]) -> argparse.Namespace:
    """Read the command line. Errors: SystemExit(2), wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m tools.run", description=__doc__, epilog=EPILOG)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--seed", type=seed_number, metavar="N", help=SEED_HELP)
    chosen = parser.parse_args(words)
    if chosen.seed is not None and chosen.command not in SEEDED:
        parser.error(f"{chosen.command} takes no --seed; {' and '.join(SEEDED)} do")
    return chosen


def main(words: list[str]) -> int:
    """Run one command.

    Returns: the exit code; 2 for wrong usage.
    """
    try:
        with plain_errors():
            if words[:1] == ["debug"]:  # has options of its own
                return debug(words[1:])
            chosen = options(words)
            return COMMANDS[chosen.command](chosen.seed) or 0
    except MachineFailure as failure:
        say(str(failure))
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
