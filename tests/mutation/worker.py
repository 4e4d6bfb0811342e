"""Some test files against many mutants: `python -m tests.mutation.worker FILE…`, started by `run`.

The tests run once with every check in force, which shows how long each takes and which checks
refused something in it: only those tests can tell that the check is gone. Then each check is
switched off in a forked child, which shares all compiled code, and runs these tests, the one that
noticed last time first, then quickest first, up to the first that fails. A child that crashes or
hangs has noticed too. What is left goes to the state machines (examples.py).

Reads the keys of the checks wanted as JSON from standard input, with the test that noticed each the
last time, and appends JSON lines to the file named in PROXEN_MUTATION_RESULTS.
"""

import faulthandler
import json
import math
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass, field

import hypothesis
import pytest
from _pytest.runner import runtestprotocol
from kpy import jit

from tests.mutation.examples import Example, Examples
from tests.mutation.table import short

LEAST_SECONDS = 1  # of processor time; a test may take this and some times what it takes unmutated
SLOWER = 4
WALL_FACTOR = 60  # for a test that sleeps, on a machine that is busy with other things


@dataclass
class Baseline:
    """A test with every check in force: how it failed, its time, and what refused in it."""

    item: pytest.Item
    failure: str = ""
    seconds: float = 0.0
    refused: set[str] = field(default_factory=set)
    examples: list[Example] = field(default_factory=list)  # of a state machine


class Worker:
    """The plugin that replaces pytest's own loop."""

    def __init__(self, wanted, results):
        self.wanted, self.results = wanted, results
        self.examples = Examples()
        self.programs, self.off = [], None
        self.load = jit.load
        jit.load = self.load_mutable

    def load_mutable(self, *arguments, **options):
        """Stand in for `jit.load`: compile the switches too."""
        program = self.load(*arguments, mutants=("kernel",), **options)
        if program.checks:
            self.programs.append(program)
            self.switch(program)
        return program

    def switch(self, program):
        """Switch the chosen check off in a program that has it."""
        found = [check for check in program.checks if check.key == self.off]
        program.switch_off(found[0] if found else None)

    def switch_all(self, key):
        self.off = key
        for program in self.programs:
            self.switch(program)

    def refused(self):
        """Return the keys of the checks that have refused since the last call."""
        return {check.key for program in self.programs for check in program.refused()}

    def pytest_configure(self):
        """Make hypothesis repeatable, and satisfied with the first failure."""
        hypothesis.settings.register_profile(
            "mutation",
            derandomize=True,
            database=None,
            deadline=None,
            print_blob=False,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        hypothesis.settings.load_profile("mutation")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        tests = [self.run_in_force(item) for item in session.items]
        for test in tests:
            if test.failure:
                self.tell(unusable=test.item.nodeid, why=test.failure)
        able = [test for test in tests if not test.failure and test.refused & self.wanted.keys()]
        plain = self.repeatable([test for test in able if not test.examples])
        machines = [test for test in able if test.examples]
        keys = {key for test in able for key in test.refused} & self.wanted.keys()
        self.tell(refused=len(keys), tests=len(plain), machines=len(machines))
        left = {key for key in sorted(keys) if not self.hunt(key, plain)}
        for test in machines:
            left -= self.hunt_by_examples(test, left)
        for key in sorted(left):
            self.tell(check=key, killed_by=None)
        return True

    def run_in_force(self, item):
        """Run a test with every check in force."""
        self.refused()
        start = time.process_time()
        with self.examples.recorded(self.refused) as examples:
            failure = run(item)
        seconds = time.process_time() - start
        refused = self.refused().union(*(example.refused for example in examples))
        return Baseline(item, failure, seconds, refused, examples)

    def repeatable(self, tests):
        """Return the tests that pass a second time in one process, as a mutant's tests run."""

        def again(say):
            for test in tests:
                start = time.process_time()
                failure = run_limited(test)
                took = time.process_time() - start
                say(json.dumps({"why": failure, "seconds": took}))

        said, how = in_child(again)
        if how:
            self.tell(unusable=tests[len(said)].item.nodeid, why=f"a second run {how}")
        fine = []
        for test, line in zip(tests, map(json.loads, said), strict=False):
            test.seconds, test.failure = line["seconds"], line["why"]
            if test.failure:
                self.tell(unusable=test.item.nodeid, why=test.failure)
            else:
                fine.append(test)
        return fine

    def hunt(self, key, tests):
        """Tell which test notices a missing check, and how; return whether there is one."""
        able = [test for test in tests if key in test.refused]
        last = self.wanted[key].removesuffix(" (hangs)")
        able.sort(key=lambda test: (short(test.item.nodeid) != last, test.seconds))

        def first_failure(say):
            self.switch_all(key)
            for test in able:
                say(test.item.nodeid)
                if run_limited(test):
                    return
            say("")

        said, how = in_child(first_failure)
        noticed = f"{said[-1]} ({how})" if how else said[-1]
        if noticed:
            self.tell(check=key, killed_by=noticed)
        return bool(noticed)

    def hunt_by_examples(self, test, keys):
        """Tell which missing checks a state machine notices; return them."""

        def lacking(key, seconds):
            self.switch_all(key)
            limit_time(seconds)

        def all_examples(say):
            def tell(key, number):
                say(json.dumps([key, ending(number) if number else ""]))

            self.examples.hunt(test.examples, keys & test.refused, lacking, tell)
            run(test.item)

        said, how = in_child(all_examples)
        if how:
            self.tell(unusable=test.item.nodeid, why=f"a second run {how}")
        found = dict(map(json.loads, said))
        for key, how in found.items():
            name = test.item.nodeid
            self.tell(check=key, killed_by=f"{name} ({how})" if how else name)
        return found.keys()

    def tell(self, **line):
        print(json.dumps(line), file=self.results, flush=True)


def run(item):
    """Run a test, keeping the fixtures of its module and session; return what failed, or ""."""
    module = item.getparent(pytest.Module)
    item.session._setupstate.teardown_exact(module)
    reports = runtestprotocol(item, log=False, nextitem=module)
    return "\n".join(report.longreprtext for report in reports if report.failed)


def run_limited(test):
    """Run a test in a child that ends when it takes far more processor time than it should."""
    limit_time(test.seconds)
    return run(test.item)


def limit_time(seconds):
    """End this process when it takes far longer than what needs so many seconds unmutated."""
    limit = LEAST_SECONDS + SLOWER * seconds
    signal.setitimer(signal.ITIMER_PROF, limit)
    signal.alarm(math.ceil(limit * WALL_FACTOR))


def in_child(steps):
    """Run a function in a fork of this process; it is given one that takes lines.

    Returns: the lines, and what ended the child if not its end, or "".
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        become_expendable()
        try:
            steps(lambda text: os.write(write_end, f"{text}\n".encode()))
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        lines = pipe.read().split("\n")[:-1]
    _, status = os.waitpid(child, 0)
    how = ending(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else ""
    return lines, how


def become_expendable():
    """Die of signals silently, as a child may."""
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)


def ending(number):
    """Name what ended a child."""
    if number in (signal.SIGPROF, signal.SIGALRM):
        return "hangs"
    return signal.Signals(number).name


def main() -> int:
    """Run the file that the command line names."""
    wanted = json.load(sys.stdin)
    with open(os.environ["PROXEN_MUTATION_RESULTS"], "a", encoding="utf-8") as results:
        arguments = [
            "-q",
            "--no-header",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:warnings",
            *sys.argv[1:],
        ]
        return int(pytest.main(arguments, plugins=[Worker(wanted, results)]))


if __name__ == "__main__":
    sys.exit(main())
