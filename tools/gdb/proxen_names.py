"""Python's dotted names for gdb: kernel.evtchn.channel.evtchn_send is a function of
kernel/evtchn/channel.py.

gdb knows functions by their plain names, and finds one that was inlined everywhere only if it is
told the file; it completes names of such functions not at all. So this looks into the sources.
"""

import re
from pathlib import Path

import gdb

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("kernel", "libos", "drivers", "tests")
_DEFINITION = re.compile(r"^ *def (\w+)\(", re.MULTILINE)


def set_breakpoint(name):
    """Break at a function by its dotted name.

    Errors: gdb.GdbError, there is no such module or function, or it is not in the program.
    """
    module, _, function = name.rpartition(".")
    path = source_of(module)
    if path is None:
        raise gdb.GdbError(f"there is no module '{module}'; write PACKAGE.MODULE.FUNCTION")
    if function not in functions_of(path):
        raise gdb.GdbError(f"{path.relative_to(ROOT)} has no function '{function}'")
    place = f"{path.relative_to(ROOT)}:{function}"
    for known in (place, function):  # by file gdb finds none that other modules inlined
        try:
            gdb.decode_line(known)
        except gdb.error:
            continue
        gdb.execute(f"break {known}")
        return
    raise gdb.GdbError(f"'{name}' is not in the program: nothing calls it")


def source_of(module):
    """Return the file of a module, None when there is none."""
    if module.partition(".")[0] not in PACKAGES:
        return None
    path = ROOT / (module.replace(".", "/") + ".py")
    return path if path.is_file() else None


def functions_of(path):
    """Return the names of the functions in a file."""
    return _DEFINITION.findall(path.read_text())


def complete(text):
    """Return the dotted names that begin with `text`: packages and modules, then functions."""
    module, _, start = text.rpartition(".")
    if not module:
        return [f"{package}." for package in PACKAGES if package.startswith(start)]
    path, folder = source_of(module), ROOT / module.replace(".", "/")
    if path is not None:
        return [f"{module}.{name}" for name in functions_of(path) if name.startswith(start)]
    if module.partition(".")[0] not in PACKAGES or not folder.is_dir():
        return []
    inside = [each for each in folder.iterdir() if each.is_dir() or each.suffix == ".py"]
    names = {each.stem for each in inside if not each.stem.startswith("__")}
    return [f"{module}.{name}." for name in sorted(names) if name.startswith(start)]
