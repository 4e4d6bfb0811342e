"""The result for people: checks.txt, and the reasons why a check may be missed."""

from pathlib import Path

from kpy.lower.mutants import Check

HERE = Path(__file__).parent
CHECKS = HERE / "checks.txt"
EQUIVALENT = HERE / "equivalent.txt"

KILLED = "killed by "

HEADER = """\
Every check of the core that a guest can reach, and the in-process test that fails without it.
Written by `make mutate`; do not edit. Left out: {outside}.
`= reason` marks a check without which nothing changes that a test could see (equivalent.txt).
SURVIVED: no test noticed that it was gone. NEVER REFUSED: no test comes to where it says no.
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


def short(test: str) -> str:
    """Name a test briefly: tests/unit/test_x.py::test_y becomes unit/test_x::test_y."""
    return test.removeprefix("tests/").replace(".py::", "::")


def read_killers() -> dict[str, str]:
    """Return by each check's key the test that noticed in the last whole run."""
    killers: dict[str, str] = {}
    file = function = text = ""
    for line in CHECKS.read_text().splitlines():
        depth, words = len(line) - len(line.lstrip()), line.strip()
        if depth == 8 and words.startswith(KILLED):
            killers[f"{file} {function}: {text}"] = words.removeprefix(KILLED)
        file = words if depth == 0 else file
        function = words if depth == 2 else function
        text = words if depth == 4 else text
    return killers


def verdict(check: Check, found: dict[str, str], reasons: dict[str, str]) -> str:
    """Return what became of a check in one line. Args: found: as `run.hunt` returns it."""
    if found.get(check.key):
        return f"{KILLED}{found[check.key]}"
    if check.key in reasons:
        return f"= {reasons[check.key]}"
    return "SURVIVED" if check.key in found else "NEVER REFUSED"


def nr_killed(found: dict[str, str]) -> int:
    """Return how many checks were noticed."""
    return sum(bool(test) for test in found.values())


def survivors(checks: list[Check], found: dict[str, str], reasons: dict[str, str]) -> list[Check]:
    """Return the checks that no test misses and nobody excused."""
    return [c for c in checks if not found.get(c.key) and c.key not in reasons]


def render(
    checks: list[Check], found: dict[str, str], reasons: dict[str, str], lines: bool = False
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
        out.append(f"        {verdict(check, found, reasons)}")
    return "\n".join(out) + "\n"


def write(checks: list[Check], found: dict[str, str], outside: list[str]) -> None:
    """Write checks.txt."""
    reasons = read_reasons()
    lost, killed = len(survivors(checks, found, reasons)), nr_killed(found)
    header = HEADER.format(
        outside=", ".join(outside),
        total=len(checks),
        killed=killed,
        equivalent=len(checks) - killed - lost,
        survived=lost,
    )
    CHECKS.write_text(header + render(checks, found, reasons))
