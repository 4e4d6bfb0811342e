"""State machines against mutants: each of their examples by itself, in forks at its beginning.

A state machine runs for seconds, and a mutant that survives would run all of it. But up to where
the missing check would have refused something, a mutant does what the core does. So the machine
runs once more with every check in force, and at the beginning of an example in which a check
refuses, a child that lacks the check runs that example alone, from the same state and with the
same choices. A few examples a check are enough to say that the machine doesn't see it.
"""

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import hypothesis.stateful
from hypothesis.errors import StopTest, UnsatisfiedAssumption

MOST_TRIES = 6  # examples for each check and machine


@dataclass
class Example:
    """One run of a machine's rules: its time, and what refused in it."""

    seconds: float
    refused: set[str] = field(default_factory=set)


class Examples:
    """What stands around each example of a state machine: nothing, a stop-watch, or a hunt."""

    def __init__(self) -> None:
        self.around: Callable | None = None
        self.make = hypothesis.stateful.get_state_machine_test
        hypothesis.stateful.get_state_machine_test = self.make_test

    def make_test(self, *arguments, **options):
        """Make a machine's test as hypothesis does, each example within `around`."""
        test = self.make(*arguments, **options)
        inner = test.hypothesis.inner_test

        @functools.wraps(inner)
        def example(*args, **fields):
            run = functools.partial(inner, *args, **fields)
            return self.around(run) if self.around else run()

        test.hypothesis.inner_test = example
        return test

    @contextlib.contextmanager
    def recorded(self, refused: Callable[[], set[str]]) -> Iterator[list[Example]]:
        """Note each example while this lasts; `refused` tells what has refused since it was asked.

        What refuses between the examples belongs to the next.
        """
        found: list[Example] = []

        def around(run):
            start = time.process_time()
            try:
                run()
            finally:
                found.append(Example(time.process_time() - start, refused()))

        self.around = around
        yield found
        self.around = None

    def hunt(
        self,
        known: list[Example],
        wanted: set[str],
        lacking: Callable[[str, float], None],
        tell: Callable[[str, str], None],
    ) -> None:
        """From now on try the wanted checks at the beginning of the examples in which they refuse.

        Args: lacking: makes a child one without a check, for an example of some seconds;
        tell: is given each check that was noticed, and the signal that ended its child, or "".
        """
        tries = dict.fromkeys(wanted, 0)
        numbers = iter(range(len(known)))

        def around(run):
            number = next(numbers, None)
            here = known[number] if number is not None else Example(0)
            for key in sorted(here.refused & tries.keys()):
                tries[key] += 1
                child = os.fork()
                if child == 0:
                    lacking(key, here.seconds)
                    os._exit(run_expendable(run))
                _, status = os.waitpid(child, 0)
                if status:
                    tell(key, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0)
                if status or tries[key] == MOST_TRIES:
                    del tries[key]
            run()

        self.around = around


def run_expendable(run: Callable[[], None]) -> int:
    """Run an example in a child; return 1 if it fails."""
    try:
        run()
    except (StopTest, UnsatisfiedAssumption):
        return 0
    except BaseException:  # noqa: BLE001  whatever it is, somebody noticed
        return 1
    return 0
