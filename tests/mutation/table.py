"""The result for people: checks.txt, and the reasons why a check may be missed."""

from pathlib import Path

from kpy.lower.mutants import Check

HERE = Path(__file__).parent
CHECKS = HERE / "checks.txt"
EQUIVALENT = HERE / "equivalent.txt"

HEADER = """\
Every check of the core that a guest can reach, and the in-process test that fails without it.
Written by `make mutate`; do not edit. Left out: {outside}.
`= reason` marks a check without which nothing changes that a test could see (equivalent.txt).
SURVIVED: no test noticed that it was gone, or none ever comes to where it refuses something.
{total} checks: {killed} killed, {equivalent} equivalent, {survived} survived.
"""


def read_reasons() -> dict[str, str]:
    """Return the reasons of equivalent.txt by check: a line with its key, its reason indented."""
    reasons: dict[str, str] = {}
    key = ""
    for line in EQUIVALENT.read_text().splitlines():
        if line.startswith(" "):
            reasons[key] = f"{reasons[key]} {line.strip()}".strip()
        elif line and not line.startswith("#"):
            key = line
            reasons[key] = ""
    return reasons


def verdict(check: Check, killed: dict[str, str], reasons: dict[str, str]) -> str:
    """Return what became of a check in one line."""
    if check.key in killed:
        return f"killed by {killed[check.key]}"
    if check.key in reasons:
        return f"= {reasons[check.key]}"
    return "SURVIVED"


def survivors(checks: list[Check], killed: dict[str, str], reasons: dict[str, str]) -> list[Check]:
    """Return the checks that no test misses and nobody excused."""
    return [c for c in checks if c.key not in killed and c.key not in reasons]


def render(
    checks: list[Check], killed: dict[str, str], reasons: dict[str, str], lines: bool = False
) -> str:
    """Return the table: by file and function, each check over its verdict."""
    out: list[str] = []
    file = function = ""
    for check in checks:
        if check.file != file:
            file, function = check.file, ""
            out += ["", file]
        if check.function != function:
            function = check.function
            out.append(f"  {function}")
        where = f":{check.line} " if lines else ""
        out.append(f"    {where}{check.text}")
        out.append(f"        {verdict(check, killed, reasons)}")
    return "\n".join(out) + "\n"


def write(checks: list[Check], killed: dict[str, str], outside: list[str]) -> None:
    """Write checks.txt."""
    reasons = read_reasons()
    lost = len(survivors(checks, killed, reasons))
    header = HEADER.format(
        outside=", ".join(outside),
        total=len(checks),
        killed=len(killed),
        equivalent=len(checks) - len(killed) - lost,
        survived=lost,
    )
    CHECKS.write_text(header + render(checks, killed, reasons))
