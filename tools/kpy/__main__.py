"""The command line: `python -m kpy check|build|dump …`."""

import argparse
import sys

from kpy import checker, modules, verify
from kpy.diagnostics import Reported
from kpy.program import Program


def check(arguments):
    """Check files for errors, without generating code."""
    program = Program()
    instances = []
    for path in arguments.files:
        try:
            module = modules.load(program, modules.name_of(path))
            instances += modules.declared_instances(program, module)
        except Reported:
            continue
    seen = checker.check_with_generics(program, instances)
    verify.recursion(program, seen)
    return report(program, f"{len(seen)} functions")


def report(program, done):
    """Print all errors, and return the exit code."""
    if not len(program.diagnostics):
        print(f"ok: {done}")
        return 0
    print(program.diagnostics.render())
    count = len(program.diagnostics)
    print(f"\n{count} error{'s' if count > 1 else ''}")
    return 1


def parser():
    top = argparse.ArgumentParser(prog="kpy", description="The kernel-Python compiler.")
    commands = top.add_subparsers(required=True)
    sub = commands.add_parser("check", help="report all errors of files, without generating code")
    sub.add_argument("files", nargs="+", metavar="FILE")
    sub.set_defaults(run=check)
    return top


def main():
    arguments = parser().parse_args()
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
