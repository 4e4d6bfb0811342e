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
# What the core's reports consist of: how far the boot came is not in them.
REPORT = re.compile(
    r"panic|  |rip |rax |rdx |rbp |r8 |r11 |r14 |cr0 |cr4 |the other gs|cpu \d+[ :]|no vCPU runs|"
    r"in the core|d\d+v\d+|d\d+ crashed|d\d+: |key |NMI from|the core has stopped|no debug key"
)
FATAL = re.compile(
    r"^.*(Kernel panic|Hardware Dom0 crashed|Panic on CPU|panic: |Domain 0 crashed|"
    r"proxen: d0 crashed).*$",
    re.MULTILINE,
)
NMI_ANSWERED = r"^proxen: NMI from outside is answered\.$"
# How the core's reports begin and end.
REPORTS = {
    "proxen: panic": re.compile(r"^proxen: the core has stopped\.$", re.MULTILINE),
    "proxen: d0 crashed": re.compile(r"^proxen: domain 0 shut down with reason", re.MULTILINE),
}


def our_milestones(log: str) -> list[str]:
    """Return what our own parts said on the console, in order: the lines "proxen: ...", but for
    reports.
    """
    return [text.strip() for text in OURS.findall(log) if not REPORT.match(text)]


def last_milestone(log: str) -> str:
    """Return the name of the last milestone in a serial log."""
    if ours := our_milestones(log):
        return f'"proxen: {ours[-1]}"'
    reached = [name for pattern, name in MILESTONES if re.search(pattern, log, re.MULTILINE)]
    return reached[-1] if reached else "none: not one character came over the serial line"


def report_is_whole(log: str) -> bool:
    """Say whether all that a lost machine has to say is in the log: the core marks its end."""
    return all(end.search(log) for begin, end in REPORTS.items() if begin in log)


def fatal_line(log: str) -> str | None:
    """Return the line that says that the machine is lost, if there is one."""
    found = FATAL.search(log)
    return found[0].strip() if found else None
