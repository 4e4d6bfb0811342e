"""The process that fuzzes: it makes programs, runs them, keeps what is new, reports what is wrong.

It may hang or die with the core that it runs: what it runs just now stands in a file, by which its
parent (tests/fuzz/__main__.py) finds out, and starts another.
"""

import json
import mmap
import os
import pathlib
import random
import resource
import signal
import time

from tests.fuzz import program as programs
from tests.fuzz.corpus import Corpus, forget, name_of
from tests.fuzz.engine import Engine, Finding, minimise
from tests.fuzz.mutate import Maker
from tests.fuzz.report import write_report
from tests.fuzz.world import World

CHECK_INTERVAL = 400  # programs between two that are checked in full without need
CHECKED_OF_NEW = 0.2  # of the programs that reach something new, those checked in full
MOST_TOGETHER = 5  # programs that run one behind the other
REPORT_S = 5
RUNNING_BYTES = 1 << 20
TRY_S = 10  # that a program may take when it is minimised in a child
FIRST_PROGRAMS = 200
SHOWN = "build/fuzz"


class Running:
    """The file that says what runs: a count of runs, the program's size, the program."""

    def __init__(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_old = path.exists() and path.stat().st_size == RUNNING_BYTES
        with open(path, "r+b" if is_old else "w+b") as file:
            file.truncate(RUNNING_BYTES)
            self.map = mmap.mmap(file.fileno(), RUNNING_BYTES)

    def runs(self):
        return int.from_bytes(self.map[:8], "little")

    def begin(self, program):
        data = b"".join(program)
        self.map[8 : 16 + len(data)] = len(data).to_bytes(8, "little") + data
        self.map[:8] = (self.runs() + 1).to_bytes(8, "little")

    def end(self):
        self.map[8:16] = bytes(8)

    def unfinished(self):
        """The program that a worker left, or None."""
        size = int.from_bytes(self.map[8:16], "little")
        data, found = self.map[16 : 16 + size], []
        while data:
            step = int.from_bytes(data[:4], "little")
            found.append(data[:step])
            data = data[step:]
        return found or None


class Worker:
    """One fuzzing process."""

    def __init__(self, options, world=None):
        self.options = options
        self.folder = pathlib.Path(options.folder)
        self.running = Running(self.folder / "running")
        self.random = random.Random(options.seed)
        self.world = world or World()
        self.engine = Engine(self.world, options.toolstack)
        self.maker = Maker(self.random, self.world, options.toolstack)
        self.corpus = Corpus(self.folder / ("toolstack" if options.toolstack else "corpus"))
        self.known = {}  # how often each finding was met
        self.start = self.last_report = time.monotonic()
        self.start_calls = 0

    def work(self):
        """Fuzz until enough is done. Returns: the number of different findings."""
        self.take_up_unfinished()
        self.resume()
        self.start_calls, self.start = self.engine.nr_calls, time.monotonic()
        while not self.is_done():
            self.step()
            if time.monotonic() > self.last_report + REPORT_S:
                self.report()
        self.report()
        write_report(self.engine, self.folder)
        return len(self.known)

    def is_done(self):
        options = self.options
        if options.count and self.engine.nr_calls - self.start_calls >= options.count:
            return True
        return bool(options.time) and time.monotonic() >= self.start + options.time

    def step(self):
        """Make a few programs, and run them one behind the other."""
        made = [self.make() for _ in range(1 + int(self.random.random() * MOST_TOGETHER))]
        program = [item for one in made for item in one]
        self.judge(program, self.engine.nr_runs % CHECK_INTERVAL == 0, made)

    def make(self):
        """Make a program."""
        if len(self.corpus.programs) < 2 or self.random.random() < 0.03:
            return self.maker.program()
        first, second = (self.corpus.choose(self.random) for _ in range(2))
        return self.maker.mutant(first, second)

    def judge(self, program, is_thorough, made=()):
        """Run a program that was put together of some; keep what is new in it, report what is
        wrong. Returns: whether anything is new.
        """
        engine = self.engine
        self.running.begin(program)
        finding = engine.run(program, is_thorough=is_thorough)
        new = 0 if finding else engine.novelty()
        if new and not is_thorough and self.random.random() < CHECKED_OF_NEW:
            finding = engine.guarded(engine.check)
        if finding:
            self.found(finding, program)
        elif new:
            program = self.shortest(program, made, new)
            engine.seen |= new
            if self.random.random() < CHECKED_OF_NEW:
                self.maker.draw.seen = [0, *engine.new_frames()]
            self.corpus.add(program)
        self.running.end()
        return bool(new)

    def shortest(self, program, made, new):
        """Return the one of some programs that reaches all that is new in them together, or that
        itself.
        """
        for one in made if len(made) > 1 else ():
            if self.engine.run(one) is None and self.engine.novelty() & new == new:
                return one
        return program

    def resume(self):
        """Run what is kept; forget what reaches nothing new."""
        folders = [self.corpus.files(), *(Corpus(f).files() for f in self.options.also)]
        for path in [path for files in folders for path in files]:
            program = programs.load(path)
            if not self.judge(program, False) and path.parent == self.corpus.folder:
                forget(path)

    def found(self, finding, program):
        """Report a finding: once, in its shortest form."""
        self.known[finding.what] = self.known.get(finding.what, 0) + 1
        if self.known[finding.what] > 1:
            return
        shows = self.shows_in_child if finding.what.startswith("the core") else self.shows
        short = minimise(program, lambda p: shows(p, finding.what))
        folder = self.folder / "findings"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name_of(short)}.prog"
        is_old = path.exists()
        shown = [programs.show(item, self.world.actors) for item in short]
        programs.save(path, short, [finding.what, *finding.detail.splitlines()[:3], *shown])
        print(f"FINDING{' again' if is_old else ''}: {finding.what}")
        print("\n".join(f"    {line}" for line in shown))
        print(f"    repeat with: make fuzz REPLAY={path}", flush=True)

    def shows(self, program, what):
        self.running.begin(program)
        finding = self.engine.run(program, 1, is_thorough=what.startswith("invariant"))
        return finding is not None and finding.what == what

    def shows_in_child(self, program, what):
        """Whether a program makes a child of this process hang or die."""
        self.running.map[:8] = (self.running.runs() + 1).to_bytes(8, "little")
        return ending(lambda: self.engine.run(program, 1)) == what

    def take_up_unfinished(self):
        """Report the program that ended an earlier worker."""
        program = self.running.unfinished()
        self.running.end()
        if program:
            how = ending(lambda: self.engine.run(program))
            if how:
                self.found(Finding(how), program)

    def report(self):
        """Print how far it is."""
        engine = self.engine
        now = time.monotonic()
        calls, seconds = engine.nr_calls - self.start_calls, max(now - self.start, 0.001)
        self.last_report = now
        print(
            f"{calls:,} calls, {calls / seconds:,.0f} a second, "
            f"edges {len(engine.reached())}/{len(engine.edges)}, "
            f"corpus {len(self.corpus.programs)}, findings {len(self.known)}",
            flush=True,
        )
        with open(self.folder / "progress.json", "w", encoding="utf-8") as file:
            json.dump({"calls": calls, "seconds": seconds, "known": self.known}, file)


def ending(do):
    """Do something in a child; return how the child died, "" if it did not."""
    child = os.fork()
    if child == 0:
        signal.alarm(TRY_S)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        do()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        return ""
    number = os.WTERMSIG(status)
    if number == signal.SIGALRM:
        return "the core hangs"
    return f"the core dies of {signal.Signals(number).name}"
