"""Programs of the host that only tests use: without one its tests are skipped, and say why."""

import shutil

import pytest

from tools.setup.programs import install_line


def needs(program: str, package: str | None = None) -> pytest.MarkDecorator:
    """Return the mark of a test that uses a program of the host.

    Args: package, the one that has it, where its name is another.
    """
    reason = f"no {program} here: {install_line([package or program])}"
    return pytest.mark.skipif(shutil.which(program) is None, reason=reason)
