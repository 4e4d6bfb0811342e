"""Compiling snippets: `jit(text)` runs one, `errors(text)` is what the compiler says about it."""

import itertools
import re
import sys
import textwrap

import kpy.jit
import pytest
from kpy.check import checker, verify
from kpy.emit import dump
from kpy.front import modules
from kpy.front.diagnostics import Reported
from kpy.front.program import Program

HEADER = "from kpy import *\n"  # one line: the lines of a snippet start at 2
_serial = itertools.count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A function that writes a snippet to a module of its own, and returns the module's name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def write(text, name=None):
        name = name or f"snippet_{next(_serial)}"
        (tmp_path / f"{name}.py").write_text(HEADER + textwrap.dedent(text).lstrip("\n"))
        made.append(name)
        return name

    yield write
    for name in made:
        sys.modules.pop(name, None)


@pytest.fixture
def jit(module):
    """Compile a snippet into this process."""
    return lambda text, name=None, **options: kpy.jit.load(module(text, name), **options)


@pytest.fixture
def errors(module):
    """Check a snippet; return all errors as text."""

    def check(text):
        program = Program()
        try:
            loaded = modules.load(program, module(text))
            roots = modules.declared_instances(program, loaded)
        except Reported:
            return program.diagnostics.render()
        verify.recursion(program, checker.check_all(program, roots))
        return program.diagnostics.render()

    return check


@pytest.fixture
def instructions(module, capsys):
    """Compile a snippet; return the instructions of one function, but for what depends on the
    snippet's name and lines."""

    def compile_one(text, function):
        program, name = Program(), module(text)
        dump.dump_module(program, modules.load(program, name), "asm")
        assert not len(program.diagnostics), program.diagnostics.render()
        shown = capsys.readouterr().out.replace(name, "module")
        shown = re.sub(r"\.Lpanic\.\d+", ".Lpanic", shown)
        body = shown.split(f"\nmodule.{function}:", 1)[1].split(".Lfunc_end", 1)[0]
        lines = (line.split("#")[0].split() for line in body.splitlines())
        return [" ".join(words) for words in lines if words and words[0][0] not in '."#']

    return compile_one


def panics(text, call, *arguments):
    """Check that a call panics with a text; return the exception."""
    with pytest.raises(kpy.jit.KpyPanic) as caught:
        call(*arguments)
    assert text in caught.value.text
    return caught.value


@pytest.fixture(name="panics")
def panics_fixture():
    return panics
