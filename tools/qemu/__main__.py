"""`python -m tools.qemu`: boot dom0 on Proxen, real Xen or nothing, and run commands in it.

    python -m tools.qemu --hv xen 'uname -r' 'ls /proc/xen'

Each command runs in dom0's console shell; with none, the machine only boots. The exit code is the
last command's. PROXEN_DISK, PROXEN_NIC, PROXEN_CPUS and PROXEN_MEMORY choose the hardware.
"""

import argparse
import sys
import time

from tools.qemu.hosts import KINDS, READY, default_kind, dom0_machine
from tools.qemu.machine import Machine, MachineFailure
from tools.setup.progress import say


def main() -> int:
    """Boot, run, report."""
    options = _options()
    config = dom0_machine(options.hv)
    try:
        with Machine(config) as machine:
            machine.wait_for(options.until, options.timeout)
            say(f"{options.until!r} after {time.monotonic() - machine.started_at:.1f} s")
            return _run(machine, options)
    except MachineFailure as failure:
        say(str(failure))
        return 1


def _run(machine: Machine, options: argparse.Namespace) -> int:
    status = 0
    for command in options.commands:
        result = machine.shell.run(command, options.timeout)
        sys.stdout.write(result.output)
        status = result.status
    return status


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.qemu", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--hv", choices=KINDS, default=default_kind(), help="what runs below dom0")
    parser.add_argument(
        "--timeout", type=float, default=90, help="seconds for boot and each command"
    )
    parser.add_argument("--until", default=READY, help="regular expression that ends the boot")
    parser.add_argument("commands", nargs="*", help="lines of shell for dom0")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
