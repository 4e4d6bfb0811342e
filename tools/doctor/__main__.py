"""`make doctor`: one page on what is here, and the lines that mend what is not.

Exit code: 0, `make run` can work; 1, something that it needs is missing.
"""

import sys
import textwrap

from tools.doctor import host, software, state
from tools.doctor.finding import BAD, GOOD, REMARK, Finding
from tools.setup import programs

WIDTH = 110
COLUMN = 20
COLOURS = {GOOD: "\x1b[32m", REMARK: "\x1b[33m", BAD: "\x1b[31;1m"}
PLAIN = "\x1b[0m"
HELP = """usage: make doctor, or python3 -m tools.doctor

Says what is installed, which QEMU and accelerator will be used and why, what is built, what runs,
and how to mend what is missing. BAD: make run cannot work. note: it can, but read this."""
CHECKS = (
    software.python,
    software.programs,
    software.venv,
    software.qemu,
    host.kvm,
    software.real_xen,
    host.processors,
    host.memory,
    host.disk_space,
    state.core,
    state.packages,
    state.image,
    state.running_machine,
    state.leftovers,
)


def main(words: list[str]) -> int:
    """Print the page.

    Returns: the exit code; 2 for wrong usage.
    """
    if words:
        print(HELP)
        return 0 if words[0] in ("-h", "--help") else 2
    findings = []
    for check in CHECKS:
        found = check()
        for finding in found if isinstance(found, list) else [found]:
            print(render(finding, sys.stdout.isatty()), flush=True)
            findings.append(finding)
    print(f"\n{summary(findings)}")
    return 1 if any(finding.state == BAD for finding in findings) else 0


def render(finding: Finding, coloured: bool) -> str:
    """Return a finding as lines."""
    mark = f"{finding.state:4}"
    if coloured:
        mark = f"{COLOURS[finding.state]}{mark}{PLAIN}"
    indent = " " * COLUMN
    text = textwrap.fill(
        finding.detail, WIDTH, initial_indent=indent, subsequent_indent=indent,
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip
    return f"{mark}  {finding.what:{COLUMN - 6}}{text[COLUMN:]}"


def summary(findings: list[Finding]) -> str:
    """Return what to do, as lines to paste; commands that are not make's want root."""
    lines = []
    for wanted, title in ((BAD, "Needed before `make run` works:"), (REMARK, "Worth doing:")):
        mends = [f.mend for f in findings if f.state == wanted and f.mend]
        commands = [as_root(command) for command in merged(mends)]
        lines += [title, *(f"    {command}" for command in commands)] if commands else []
    bad = [finding.what for finding in findings if finding.state == BAD]
    if bad:
        return "\n".join([*lines, f"Not well: {', '.join(bad)}."])
    return "\n".join([*lines, "All that is needed is here; `make run` comes next."])


def merged(mends: list[str]) -> list[str]:
    """Return commands once each, with all installations in one."""
    prefix = programs.install_line([])
    installs = [mend.removeprefix(prefix).split() for mend in mends if mend.startswith(prefix)]
    names = dict.fromkeys(name for words in installs for name in words)
    others = [mend for mend in mends if not mend.startswith(prefix)]
    return list(dict.fromkeys([*([programs.install_line(list(names))] if names else []), *others]))


def as_root(command: str) -> str:
    """Put sudo before what only root may do."""
    needs_root = command.startswith(("apt-get", "dnf", "usermod"))
    return programs.as_root(command) if needs_root else command


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
