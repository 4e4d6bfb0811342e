"""Names how far a boot came, from its serial log."""

import re

# In the order of a boot; the last one that the log shows is where it is.
MILESTONES = (
    (r"SeaBIOS", "the firmware"),
    (r"^\(XEN\) Xen version|^\(PROXEN\)|Proxen", "the hypervisor"),
    (r"\*\*\* LOADING DOMAIN 0|[Bb]uilding dom0", "dom0 being built"),
    (r"Linux version", "dom0's kernel"),
    (r"smp: Brought up", "dom0's processors"),
    (r"Run /init as init process", "dom0's ramdisk"),
)
OURS = re.compile(r"^proxen: (.+)\n", re.MULTILINE)
FATAL = re.compile(
    r"^.*(Kernel panic|Hardware Dom0 crashed|Panic on CPU|panic: |Domain 0 crashed).*$",
    re.MULTILINE,
)


def our_milestones(log: str) -> list[str]:
    """Return what our own parts said on the console, in order: all lines "proxen: ..."."""
    return [text.strip() for text in OURS.findall(log)]


def last_milestone(log: str) -> str:
    """Return the name of the last milestone in a serial log."""
    if ours := our_milestones(log):
        return f'"proxen: {ours[-1]}"'
    reached = [name for pattern, name in MILESTONES if re.search(pattern, log, re.MULTILINE)]
    return reached[-1] if reached else "none: not one character came over the serial line"


def fatal_line(log: str) -> str | None:
    """Return the line that says that the machine is lost, if there is one."""
    found = FATAL.search(log)
    return found[0].strip() if found else None
