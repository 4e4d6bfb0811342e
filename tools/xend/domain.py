"""One domain as xend knows it, from its creation to the record that stays after its end."""

import asyncio
import re
import time
from dataclasses import dataclass, field
from uuid import UUID

import xen_codecs as abi

REASONS = {
    abi.SHUTDOWN_poweroff: "poweroff",
    abi.SHUTDOWN_reboot: "reboot",
    abi.SHUTDOWN_suspend: "suspend",
    abi.SHUTDOWN_crash: "crash",
    abi.SHUTDOWN_watchdog: "watchdog",
    abi.SHUTDOWN_soft_reset: "soft_reset",
}
CRASH_EXIT_CODE = 6
_CODE = re.compile(r"[0-9]{1,9}\s*", re.ASCII)
_FLAGS = (
    ("r", abi.XEN_DOMINF_running),
    ("b", abi.XEN_DOMINF_blocked),
    ("p", abi.XEN_DOMINF_paused),
    ("s", abi.XEN_DOMINF_shutdown),
)


@dataclass
class Domain:
    """`domid` is None once the domain has ended; `exit` is set when it shut down."""

    config: object
    domid: int | None
    elf_path: str | None = None
    console: object = None
    disks: list = field(default_factory=list)
    devices: list = field(default_factory=list)
    created_at: float = field(default_factory=time.time)
    exit: dict | None = None
    crash: dict | None = None
    info: object = None
    building: bool = False
    debugger_gone: asyncio.Event | None = None  # None: it never had a debugger
    quick_reboots: int = 0  # one after another, each soon after its start
    # Held by whoever takes the domain apart, be it because it ended or because a client said so.
    ending: asyncio.Lock = field(default_factory=asyncio.Lock)

    def describe(self):
        """Return the domain as openapi.json's `Domain`."""
        info, config = self.info, self.config
        return {
            "id": self.domid,
            "name": self.name(),
            "uuid": self.uuid(),
            "state": self.state(),
            "flags": self.flags(),
            "memory_mib": info.tot_pages >> 8 if info else 0,
            "vcpus": info.nr_online_vcpus if info else config.vcpus,
            "cpu_time_s": round(info.cpu_time / 1e9, 3) if info else 0.0,
            "created_at": self.created_at if config else None,
            "config": config.to_json() if config else None,
            "exit": self.exit,
            "crash": self.crash,
        }

    def name(self):
        """Return the name; domain 0 has its own, and a domain that xend did not make has none."""
        if self.config:
            return self.config.name
        return "Domain-0" if self.domid == 0 else "(unknown)"

    def uuid(self):
        """Return the uuid, from the hypervisor if it is not ours."""
        return self.config.uuid if self.config else str(UUID(bytes=bytes(self.info.handle)))

    def has_ended(self):
        """Say whether the guest has shut down, crashed or gone."""
        return self.info is None or bool(self.info.flags & abi.XEN_DOMINF_shutdown)

    def is_debugged(self):
        """Say whether a debugger is attached."""
        return self.debugger_gone is not None and not self.debugger_gone.is_set()

    def state(self):
        """Return building, running, blocked, paused, shutdown, crashed, dying or ended."""
        if self.domid is None:
            return "ended"
        if self.building:
            return "building"
        flags = self.info.flags if self.info else abi.XEN_DOMINF_dying
        if flags & abi.XEN_DOMINF_dying:
            return "dying"
        if flags & abi.XEN_DOMINF_shutdown:
            return "crashed" if shutdown_reason(self.info) == "crash" else "shutdown"
        if flags & abi.XEN_DOMINF_paused:
            return "paused"
        return "running" if flags & abi.XEN_DOMINF_running else "blocked"

    def flags(self):
        """Return xm's state column: one letter each of rbpscd, or a dash."""
        if self.info is None or self.domid is None:
            return "------"
        flags = self.info.flags
        letters = "".join(letter if flags & bit else "-" for letter, bit in _FLAGS)
        letters += "c" if self.state() == "crashed" else "-"
        return letters + ("d" if flags & abi.XEN_DOMINF_dying else "-")


def shutdown_reason(info):
    """Return why a domain shut down, or None if it has not."""
    if not info.flags & abi.XEN_DOMINF_shutdown:
        return None
    code = info.flags >> abi.XEN_DOMINF_shutdownshift & abi.XEN_DOMINF_shutdownmask
    return REASONS.get(code, f"code {code}")


def exit_record(reason, written):
    """Return openapi.json's `Exit`.

    A guest says its exit code by writing `data/exit-code` below its home in xenstore before it
    shuts down. Without one, an orderly end counts as 0 and a crash as 6.
    """
    code = CRASH_EXIT_CODE if reason in ("crash", "watchdog") else 0
    if reason not in ("crash", "watchdog") and _CODE.fullmatch(written or ""):
        code = int(written) & 255
    return {"reason": reason, "code": code}
