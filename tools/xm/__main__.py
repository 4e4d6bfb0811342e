"""The command line: `./xm` on the developer's machine, `python3 -m xm` in dom0.

Exit codes: 0 done, 1 failed, 2 wrong usage, 6 the domain whose console was shown crashed; `xm run`
exits with the domain's own code.
"""

import argparse
import difflib
import sys

from xm import commands
from xm.cfg import ConfigError
from xm.client import Client, XendError

DESCRIPTION = """Manage the domains of a Proxen machine.

  xm create hello.cfg -c        create a domain and attach its console
  xm create hello.cfg memory=64 the same with one key changed
  xm create -w hello.cfg        create, return when its disks and network cards are connected
  xm run hello.cfg              create, show the console, exit with the domain's code
  xm list                       what runs
  xm gdb hello                  debug a domain's kernel with gdb
  xm trace -d 2                 record what the hypervisor does, for Perfetto
  xm show hello                 one domain, with registers and backtrace if it crashed
"""
EPILOG = """xend is found by $PROXEN_URL, else by the machine that 'make up' started, else at
http://127.0.0.1:8000. Exit codes: 0 done, 1 failed, 2 wrong usage, 6 the domain crashed."""
FILE_HELP = """A domain file has lines KEY = VALUE, in the syntax of xl.cfg(5):

  name    = "hello"
  kernel  = "build/hello.elf"       # an ELF file for Xen, or a bzImage; uploaded
  ramdisk = "initrd.img"
  cmdline = "console=hvc0"          # or root= and extra=
  memory  = 32                      # MiB
  vcpus   = 1
  disk    = ["disk.img,raw,xvda,rw", "dom0:/dev/vdb,raw,xvdb,ro"]
  vif     = ["bridge=xenbr0"]
  on_poweroff = "destroy"           # or restart, preserve; also on_reboot, on_crash

Paths are relative to the file and are uploaded; 'dom0:' names a file that is in dom0.
A disk image that is uploaded is a template: each domain writes to a copy of its own."""


GDB_HELP = """gdb of this machine starts with the kernel's symbols and the domain stopped:

  (gdb) break main              Python functions by name, or libos/examples/hello.py:14
  (gdb) continue                Ctrl-C stops the domain again
  (gdb) info threads            one thread is one vCPU
  (gdb) watch counter           by the guest's debug registers
  (gdb) detach                  the domain goes on; `kill` destroys it

'xm create -g FILE' stops a domain at its first instruction. A stock Linux has function names but
no lines: name a file that has them, such as 'xm gdb -s vmlinux linux'. Arguments for gdb come
after --, as in 'xm gdb hello -- -batch -ex backtrace'."""

TRACE_HELP = """Examples:

  xm trace -d 2                       two seconds to trace.json: open it in https://ui.perfetto.dev
  xm trace -o run.json xm run my.cfg  as long as a command runs; xm exits with its code
  xm trace -d 1 --text --domain hello --events hypercall,trap
  xm trace -d 5 --summary             counts and times of hypercalls and traps, by domain

Events: hypercall (with arguments, result and duration), trap (exceptions, emulation, system calls),
sched (who runs where, and why not), evtchn (signals, with arrows to the upcall), page (frames that
become page tables, grants), irq (interrupts, TLB shootdowns). If the machine does more than can be
carried away, records are lost, and the output says how many: name fewer events."""


class Parser(argparse.ArgumentParser):
    """An argument parser that says what may have been meant."""

    def error(self, message):
        choices = next((a.choices for a in self._actions if a.choices), None) or {}
        if "invalid choice" in message:
            word = message.split("'")[1]
            close = difflib.get_close_matches(word, choices, n=1)
            hint = f"did you mean '{close[0]}'?" if close else "'xm --help' lists all."
            message = f"there is no command '{word}'; {hint}"
        self.exit(commands.USAGE, f"{self.prog}: {message}\n")


def make_parser():
    """Return the parser of all commands."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="xm", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw)
    sub = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    def command(name, function, *arguments, **options):
        made = sub.add_parser(
            name, help=function.__doc__.split("\n")[0], formatter_class=raw, **options
        )
        made.add_argument("--json", action="store_true", help="print JSON")
        made.set_defaults(function=function)
        for argument in arguments:
            made.add_argument(argument)
        return made

    for name, function in (("create", commands.create), ("run", commands.run)):
        made = command(name, function, epilog=FILE_HELP)
        made.add_argument("file", nargs="?", help="the domain file")
        made.add_argument("override", nargs="*", metavar="KEY=VALUE", help="change a key")
        if name == "create":
            made.add_argument("-c", "--console", action="store_true", help="attach the console")
            only = made.add_mutually_exclusive_group()
            only.add_argument("-p", "--paused", action="store_true", help="leave it paused")
            only.add_argument(
                "-g", "--gdb", action="store_true", help="stop it at its first instruction, in gdb"
            )
            only.add_argument(
                "-w", "--wait", action="store_true", help="return when its devices are connected"
            )
    made = command("list", commands.list_domains)
    made.add_argument("domain", nargs="*")
    made.add_argument("-a", "--all", action="store_true", help="also domains that have ended")
    made.add_argument("--xl", action="store_true", help="print xl's columns")
    for name in ("show", "log", "console", "pause", "unpause", "reboot", "destroy"):
        command(name, getattr(commands, name), "domain")
    made = command("gdb", commands.gdb, epilog=GDB_HELP)
    made.add_argument("domain")
    made.add_argument("gdb_argument", nargs="*", help="arguments for gdb, after --")
    made.add_argument("-s", "--symbols", metavar="FILE", help="a kernel file with symbols")
    made = command("trace", commands.trace, epilog=TRACE_HELP)
    made.add_argument("-d", "--duration", type=float, metavar="SECONDS", help="how long")
    made.add_argument("-o", "--output", metavar="FILE", help="default: trace.json; - is stdout")
    made.add_argument("-e", "--events", metavar="LIST", help="default: all, see below")
    made.add_argument("--domain", metavar="NAME", help="only what concerns this domain")
    made.add_argument("--text", action="store_true", help="a line an event, to stdout")
    made.add_argument("--summary", action="store_true", help="counts and times only")
    made.add_argument(
        "--size", type=float, default=1, metavar="MIB", help="of each CPU's ring, once (default: 1)"
    )
    made.add_argument("command", nargs=argparse.REMAINDER, help="trace while this runs")
    made = command("shutdown", commands.shutdown, "domain")
    made.add_argument("-w", "--wait", action="store_true", help="wait until it has shut down")
    made = command("info", commands.info)
    made.add_argument("-n", "--numa", action="store_true", help="cores, sockets and nodes, too")
    made = command("dmesg", commands.dmesg)
    made.add_argument("-c", "--clear", action="store_true", help="forget them afterwards")
    made.add_argument("-f", "--follow", action="store_true", help="go on; Ctrl-C ends it")
    command("debug-keys", commands.debug_keys, "keys")
    return parser


def main(argv=None):
    """Run one command and return its exit code."""
    arguments = parse(argv)
    try:
        return arguments.function(Client(), arguments)
    except ConfigError as error:
        print(f"xm: {error}", file=sys.stderr)
        return commands.USAGE
    except XendError as error:
        print(f"xm: {error}", file=sys.stderr)
        return commands.FAILED
    except KeyboardInterrupt:
        return 130


def parse(argv):
    """Parse the command line; overrides may stand before or after options, which argparse alone
    refuses.
    """
    arguments, rest = make_parser().parse_known_args(argv)
    unknown = [word for word in rest if word.startswith("-") or not hasattr(arguments, "override")]
    if unknown:
        Parser(prog="xm").error(f"unrecognized argument '{unknown[0]}'; see 'xm COMMAND --help'")
    if rest:
        arguments.override += rest
    return arguments


if __name__ == "__main__":
    sys.exit(main())
