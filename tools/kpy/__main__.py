"""The command line: `python -m kpy check|build|dump …`."""

import argparse
import os
import sys
import traceback

from kpy.check import checker, verify
from kpy.front import forward, imports, modules
from kpy.front.diagnostics import Reported
from kpy.front.program import Program
from kpy.front.target import BadTarget, find_targets
from tools.setup.plain import plain_errors


def check(arguments):
    """Check files for errors, without generating code; with a target's root, all of that target."""
    program, instances = Program(), []
    names = [modules.name_of(path) for path in arguments.files]
    targets = [t for t in find_targets("all")[0] if not set(t.roots).isdisjoint(names)]
    programs = [_members(target) for target in targets]
    for name in dict.fromkeys([*names, *(member for found in programs for member in found)]):
        try:
            module = modules.load(program, name)
            instances += modules.declared_instances(program, module)
        except Reported:
            continue
    seen = checker.check_all(program, instances, checker.generic_callees)
    verify.recursion(program, seen)
    if not len(program.diagnostics):
        for target, found in zip(targets, programs, strict=True):
            _check_target(program, target, found)
    return report(program, f"{len(seen)} functions")


def _members(target):
    """The names of the modules of a target."""
    roots = [path for root in target.roots if (path := imports.file_of(root))]
    return [modules.name_of(p) for p in sorted(imports.closure(roots)) if forward.is_program(p)]


def _check_target(program, target, names):
    """Check what the parts of a target need of each other."""
    from kpy.emit import symbols

    members = [sys.modules[name] for name in names]
    roots = [i for module in members for i in modules.declared_instances(program, module)]
    everything = checker.check_all(program, roots)
    verify.symbols(program, everything)
    symbols.undefined(program, target, members, everything)


def build(arguments):
    """Build targets, each in a process of its own: they import different programs."""
    chosen, known = find_targets(arguments.target)
    if not chosen:
        print(f"no target `{arguments.target}`; there are {', '.join(known)}", file=sys.stderr)
        return 2
    for target in chosen:
        child = os.fork()
        if child == 0:
            os._exit(_build_one(target))
        if os.waitpid(child, 0)[1]:
            return 1
    return 0


def _build_one(target):
    from kpy.emit.target_build import Failed
    from kpy.emit.target_build import build as build_target

    try:
        print(build_target(target), flush=True)
        return 0
    except Failed as error:
        print(error, flush=True)
        return 1
    except Exception as error:  # noqa: BLE001  the parent must learn of it
        return own_failure(error)


def stack(arguments):
    """Build targets, and print the deepest path on each of their stacks."""
    from kpy.emit.target_build import stack_report

    failed = build(arguments)
    for target in [] if failed else find_targets(arguments.target)[0]:
        with open(stack_report(target), encoding="utf-8") as file:
            print(f"{target.name}\n{file.read()}")
    return failed


def dump(arguments):
    """Print the functions of a file after one stage."""
    from kpy.emit.dump import dump_module

    program = Program()
    try:
        module = modules.load(program, modules.name_of(arguments.file))
        dump_module(program, module, arguments.stage, arguments.function)
    except Reported:
        pass
    return report(program, "") if len(program.diagnostics) else 0


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
    sub = commands.add_parser("build", help="build a target, a group of them, or all")
    sub.add_argument("target")
    sub.set_defaults(run=build)
    sub = commands.add_parser("stack", help="print the deepest path on each stack of a target")
    sub.add_argument("target")
    sub.set_defaults(run=stack)
    sub = commands.add_parser("dump", help="print functions after a stage")
    sub.add_argument("--stage", choices=("ast", "typed", "llvm", "asm"), default="typed")
    sub.add_argument("file")
    sub.add_argument("function", nargs="?")
    sub.set_defaults(run=dump)
    return top


def main():
    arguments = parser().parse_args()
    try:
        with plain_errors():
            return arguments.run(arguments)
    except BrokenPipeError:
        return 1
    except BadTarget as error:
        print(error)
        return 1
    except Exception as error:  # noqa: BLE001  a programmer never sees a traceback of the compiler
        return own_failure(error)


def own_failure(error):
    """Say that the compiler itself failed, and where to look."""
    if os.environ.get("KPY_TRACEBACK"):
        raise error
    place = traceback.extract_tb(error.__traceback__)[-1]
    print(
        f"kpy itself failed: {type(error).__name__}: {error} ({place.filename}:{place.lineno})\n"
        "this is a bug of kpy: please report it (KPY_TRACEBACK=1 shows more)",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
