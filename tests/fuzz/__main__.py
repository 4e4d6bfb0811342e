"""`make fuzz`: hostile guests make random hypercalls, guided by what of the core they reach.

    make fuzz COUNT=1000000     # hypercalls; or TIME=60, seconds
    make fuzz REPLAY=build/fuzz/findings/….prog
    make fuzz TOOLSTACK=1 …     # domain 0 is hostile, too: the core must not panic

What reaches something new is kept in build/fuzz/corpus, where the next run begins. A finding is
minimised, shown, and kept in build/fuzz/findings; the exit code is then 1.
"""

import argparse
import json
import pathlib
import signal
import subprocess
import sys
import time

PATIENCE_S = 120  # for a worker that runs no further program; it may be compiling
FIRST_PATIENCE_S = 900


def options_of(arguments):
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=0, help="hypercalls to make")
    parser.add_argument("--time", type=int, default=0, help="seconds to fuzz")
    parser.add_argument("--replay", help="a program to run, checked after each action")
    parser.add_argument("--toolstack", action="store_true", help="domain 0 is hostile, too")
    parser.add_argument("--seed", type=int, help="of chance; fresh by default")
    parser.add_argument("--folder", default="build/fuzz", help="where corpus and findings are")
    parser.add_argument("--also", action="append", default=[], help="another corpus to begin with")
    parser.add_argument("--distil", help="make a small corpus of the large one, in this folder")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main():
    options = options_of(sys.argv[1:])
    if options.replay:
        from tests.fuzz.replay import replay

        return replay(options)
    if options.distil:
        from tests.fuzz.distil import distil

        return distil(options)
    if options.worker:
        from tests.fuzz.worker import Worker

        return 1 if Worker(options).work() else 0
    if not options.count and not options.time:
        options.count = 1_000_000
    return supervise(options)


def supervise(options):
    """Run workers until one comes to its end; a hanging one is ended, and all with this process."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    found = 0
    while True:
        status = run_worker(options)
        if status in (0, 1):
            return found or status
        found = 1
        print(f"the core ended its worker ({status}): another goes on", flush=True)
        if is_enough(options):
            return found


def is_enough(options):
    """Take what a worker has done from what is to do. Returns: whether that was all."""
    path = pathlib.Path(options.folder) / "progress.json"
    done = json.loads(path.read_text()) if path.exists() else {"calls": 0, "seconds": 0}
    for name, share in (("count", done["calls"]), ("time", int(done["seconds"]))):
        if getattr(options, name):
            setattr(options, name, max(0, getattr(options, name) - share))
    return not options.count and not options.time


def run_worker(options):
    """Run one worker. Returns: its exit status, negative if a signal ended it."""
    running = pathlib.Path(options.folder) / "running"
    bounds = ["--count", str(options.count), "--time", str(options.time)]
    command = [sys.executable, "-m", "tests.fuzz", "--worker", *sys.argv[1:], *bounds]
    worker = subprocess.Popen(command)
    before, quiet, patience = b"", 0, FIRST_PATIENCE_S
    try:
        while worker.poll() is None:
            time.sleep(1)
            now = running.read_bytes()[:8] if running.exists() else b""
            quiet = quiet + 1 if now == before else 0
            if now != before and before:
                patience = PATIENCE_S
            before = now
            if quiet > patience:
                worker.kill()
    finally:
        if worker.poll() is None:
            worker.kill()
    return worker.wait()


if __name__ == "__main__":
    sys.exit(main())
