"""Starts daemons: `start.py xenstored xend` imports what they share once, then runs each as a
process of its own, with /run/proxen/NAME.pid and NAME.log.

Importing takes seconds under TCG. The first daemon serves while the last one, this very process,
still imports what it alone needs. What each has to say of its start goes to standard output, which
all have closed once all are ready.
"""

import collections
import importlib
import os
import sys
import time
import traceback

PLACE = "/opt/proxen"
DEBIAN = "/usr/lib/python3/dist-packages"  # Python's `site`, which would add it, costs more
STATE = "/run/proxen"
STORE = "/run/xenstored/socket"
SHARED = ("argparse", "asyncio", "logging", "xen.evtchn", "xen.privcmd", "xen.xenstore")
LAST_WORDS = 20


def main(names):
    """Fork all daemons but the last, and become that one."""
    sys.path = [PLACE, *sys.path, DEBIAN]
    sys.modules["ssl"] = None  # nobody here speaks TLS, and asyncio does without
    for module in SHARED:
        importlib.import_module(module)
    *others, last = names
    for name in others:
        if os.fork() == 0:
            child = os.fork()  # a child of init's, which looks after the dead
            if child == 0:
                become(name)
            _write_pid(name, child)
            os._exit(0)
        os.wait()
    _write_pid(last, os.getpid())
    become(last)


def become(name):
    """Be a daemon, once the store is there that it needs."""
    starting, log = _move_output(f"{STATE}/{name}.log")
    sys.argv = [name]
    try:
        module = importlib.import_module(f"{name}.__main__")
        if name != "xenstored":
            _wait_for_store()
        module.main(lambda text: _say(starting, text))
    except BaseException as error:
        traceback.print_exception(error)
        if not starting.closed:
            with open(log) as file:
                last = "".join(collections.deque(file, LAST_WORDS))
            _say(starting, f"{name} failed; its last words:\n{last}")
    os._exit(1)


def _wait_for_store():
    """Wait until xenstored serves. Errors: SystemExit, it has died."""
    with open(f"{STATE}/xenstored.pid") as file:
        process = f"/proc/{file.read().strip()}"
    while not os.path.exists(STORE):
        if not os.path.exists(process):
            sys.exit("there is no xenstored")
        time.sleep(0.02)


def _write_pid(name, pid):
    with open(f"{STATE}/{name}.pid", "w") as file:
        file.write(f"{pid}\n")


def _move_output(log):
    """Send standard output and error to a log; returns the old output, and the log's name."""
    starting = os.fdopen(os.dup(1), "w")
    to = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(to, 1)
    os.dup2(to, 2)
    return starting, log


def _say(starting, text):
    starting.write(f"{text}\n")
    starting.close()


main(sys.argv[1:])
