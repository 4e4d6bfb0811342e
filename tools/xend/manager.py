"""The life of domains: create, watch, act on their end.

The hypervisor is the truth about what exists; this module adds what it does not know (names,
configurations, consoles), and keeps a record of ended domains, so that an exit code or a crash
report can still be read. Whatever ends a domain is noticed through xenstore's @releaseDomain.
"""

import asyncio
import contextlib
import logging
import time

import xen_codecs as abi
from xen import domctl, sysctl

from xend import crash, records
from xend.config import suggestion
from xend.domain import Domain, exit_record, shutdown_reason
from xend.errors import conflict, not_found

ENDED_MAX = 64
EVENTS_MAX = 256
GONE_S = 60
QUICK_REBOOT_S = 10
QUICK_REBOOTS_MAX = 3  # one after another
POLL_S = 0.01

log = logging.getLogger("xend")


class Manager:
    """All domains. `domains` is {domid: Domain}; `ended` holds records, the oldest first."""

    def __init__(self, xc, store, consoles, constructor, disks):
        self.xc, self.store, self.consoles = xc, store, consoles
        self.constructor, self.disks = constructor, disks
        self.announcer = crash.Announcer(xc)
        self.domains = {}
        self.ended = []
        self.names = set()
        self.listeners = set()
        self.tasks = set()

    async def start(self):
        """Adopt what runs already and begin to watch."""
        infos = sysctl.getdomaininfolist(self.xc)
        await records.write_dom0(self.store, infos[0].tot_pages * 4)
        for info in infos[1:]:
            await self.adopt(info)
        await self.store.watch("@releaseDomain", lambda _: self.notice())

    async def adopt(self, info):
        """Take over a domain that an earlier xend made; one that resists stays as it is."""
        if info.flags & abi.XEN_DOMINF_debugged:
            log.warning("domain %d lost its debugger; breakpoints may be left in it", info.domain)
            domctl.setdebugging(self.xc, info.domain, False)
        try:
            domain = await self.constructor.adopt(info.domain, info)
        except Exception:
            log.exception("domain %d cannot be taken over", info.domain)
            return
        if domain:
            self.domains[info.domain] = domain
            self.names.add(domain.config.name)

    def notice(self):
        """Some domain shut down or died: look which."""
        for domain in list(self.domains.values()):
            self.refresh(domain)
            if domain.has_ended() and domain.exit is None:
                task = asyncio.ensure_future(self.act_on_end(domain))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)

    def refresh(self, domain):
        """Ask the hypervisor for a domain's state."""
        if domain.domid is not None:
            domain.info = domctl.getdomaininfo(self.xc, domain.domid)

    def all(self):
        """Return all domains of the machine, in order of their ids; some may not be xend's."""
        known = self.constructor.building | self.domains
        infos = {info.domain: info for info in sysctl.getdomaininfolist(self.xc)}
        found = []
        for domid in sorted(known.keys() | infos.keys()):
            domain = known.get(domid) or Domain(None, domid)
            domain.info = infos.get(domid)
            found.append(domain)
        return found

    def find(self, key):
        """Return the live domain with this name or id, or else the last that ended under it.

        Errors: Refusal 404.
        """
        for domain in [*self.all(), *reversed(self.ended)]:
            if key in (domain.name(), domain.uuid(), str(domain.domid)):
                return domain
        hint = suggestion(key, self.names)
        raise not_found("no_such_domain", f"There is no domain '{key}'.{hint} 'xm list' shows all.")

    def live(self, key):
        """Return the live domain with this name or id, fit to be acted on.

        Errors: Refusal 404; Refusal 409, it has ended, is unfinished, or is domain 0.
        """
        domain = self.find(key)
        self.check_live(domain)
        return domain

    @staticmethod
    def check_live(domain):
        """Refuse to act on domain 0, a domain in the making, or one that has ended."""
        name = domain.name()
        if domain.domid == 0:
            message = f"{name} runs this machine's drivers and xend itself; nothing may stop it."
            raise conflict("domain_0", message)
        if domain.building:
            raise conflict("building", f"The domain '{name}' is still being made; wait a moment.")
        if domain.domid is None:
            raise conflict("ended", f"The domain '{name}' has ended; create it again.")

    async def create(self, config, fresh=True):
        """Make a domain and start it, unless it is to be paused; one that is not `fresh` keeps its
        disks.

        Errors: Refusal; nothing has changed.
        """
        if config.name in self.names:
            message = (
                f"A domain called '{config.name}' exists already; "
                "destroy it or choose another name."
            )
            raise conflict("name_in_use", message)
        self.names.add(config.name)
        try:
            domain = await self.constructor.construct(config, fresh)
        except BaseException:
            self.names.discard(config.name)
            raise
        self.forget_ended(config.name)
        self.domains[domain.domid] = domain
        if not config.paused:
            domctl.unpausedomain(self.xc, domain.domid)
        self.refresh(domain)
        self.publish("created", domain)
        return domain

    def forget_ended(self, name):
        """Drop the records of ended domains of this name."""
        self.ended = [domain for domain in self.ended if domain.config.name != name]

    def pause(self, domain):
        """Stop a domain. Errors: Refusal 409, it is paused already, or has a debugger."""
        self.check_not_debugged(domain)
        if domain.state() == "paused":
            raise conflict("paused", f"The domain '{domain.name()}' is paused already.")
        domctl.pausedomain(self.xc, domain.domid)

    def unpause(self, domain):
        """Let a paused domain run. Errors: Refusal 409, it is not paused, or has a debugger."""
        self.check_not_debugged(domain)
        if domain.state() != "paused":
            raise conflict("not_paused", f"The domain '{domain.name()}' is not paused.")
        domctl.unpausedomain(self.xc, domain.domid)

    @staticmethod
    def check_not_debugged(domain):
        """Refuse what would interfere with a debugger."""
        if domain.is_debugged():
            message = f"A debugger holds the domain '{domain.name()}'; leave gdb first."
            raise conflict("debugged", message)

    async def ask_to_stop(self, domain, how):
        """Ask the guest to shut down or reboot, through its control node; it decides when."""
        await self.store.write(f"/local/domain/{domain.domid}/control/shutdown", how)

    async def wait_connected(self, domain):
        """Wait until all devices of a domain are connected, or it has ended."""
        devices = asyncio.gather(*(device.connected(self.store) for device in domain.devices))
        end = asyncio.ensure_future(self._wait_end(domain))
        try:
            await asyncio.wait((devices, end), return_when=asyncio.FIRST_COMPLETED)
        finally:
            devices.cancel()
            end.cancel()

    async def _wait_end(self, domain):
        """Wait until a domain has shut down, crashed or gone."""
        queue = asyncio.Queue()
        self.listeners.add(queue)
        try:
            while domain.exit is None:
                await queue.get()
        finally:
            self.listeners.discard(queue)

    async def act_on_end(self, domain):
        """Record why a domain shut down, then do what its configuration says."""
        try:
            async with domain.ending:
                if domain.exit is not None:
                    return
                lived_s = time.time() - domain.created_at  # reports and devices take their time too
                reason = shutdown_reason(domain.info) if domain.info else "destroyed"
                await self.record_end(domain, reason)
                if reason == "crash" and domain.is_debugged():
                    await domain.debugger_gone.wait()
                action = self.action(domain.config, reason)
                if domain.info is None or action != "preserve":
                    await self.remove(domain)
                else:
                    domain.console.end()
            if action == "restart":
                await self.restart(domain, lived_s)
        except Exception:
            log.exception("ending %s", domain.name())

    @staticmethod
    def action(config, reason):
        """Return what a configuration says about a reason to end: destroy, restart or preserve."""
        chosen = {"poweroff": config.on_poweroff, "reboot": config.on_reboot}
        return chosen.get(reason, config.on_crash)

    async def record_end(self, domain, reason):
        """Set `exit`, and `crash` if it crashed."""
        written = await self.store.read(f"/local/domain/{domain.domid}/data/exit-code")
        if reason == "crash":
            run = asyncio.get_running_loop().run_in_executor
            nr_vcpus = domain.info.max_vcpu_id + 1
            arguments = (self.xc, domain.domid, nr_vcpus, domain.elf_path)
            report = await run(None, crash.report, *arguments)
            name = domain.config.name
            await run(None, self.announcer.print, domain.domid, name, report)
            domain.crash = report
        domain.exit = exit_record(reason, written)  # last: who sees it may ask for the rest
        log.info("%s ended: %s", domain.config.name, domain.exit)
        self.publish("shutdown", domain)

    async def restart(self, domain, lived_s):
        """Make a domain that rebooted anew, unless it does nothing but reboot."""
        quick_reboots = domain.quick_reboots + 1 if lived_s < QUICK_REBOOT_S else 0
        if quick_reboots > QUICK_REBOOTS_MAX:
            log.warning("%s reboots without end, so it stays ended", domain.config.name)
            return
        domain.config.paused = False
        again = await self.create(domain.config, fresh=False)
        again.quick_reboots = quick_reboots

    async def destroy(self, domain):
        """Kill a domain and wait until it has given everything back, debugged or not."""
        if domain.is_debugged():
            domain.debugger_gone.set()
        async with domain.ending:
            if domain.domid is None:
                return
            if domain.exit is None:
                domain.exit = {"reason": "destroyed", "code": 0}
            await self.remove(domain)

    async def remove(self, domain):
        """Take a domain apart, in the order that frees its memory: vCPUs, our mappings, devices,
        records.
        """
        domid = domain.domid
        run = asyncio.get_running_loop().run_in_executor
        self.consoles.close(domid)
        if domain.info is not None:
            await run(None, domctl.destroydomain, self.xc, domid)
        await asyncio.gather(*(device.gone(self.store) for device in domain.devices))
        for opened in domain.disks:
            self.disks.close(domain.name(), opened)
        with contextlib.suppress(FileNotFoundError):
            await self.store.release(domid)
        await records.remove_domain(self.store, domid, domain.uuid(), bool(domain.devices))
        await self.wait_until_gone(domid)
        self.bury(domain)

    async def wait_until_gone(self, domid):
        """Wait for the hypervisor to free the last frame."""
        deadline = asyncio.get_running_loop().time() + GONE_S
        while domctl.getdomaininfo(self.xc, domid) is not None:
            if asyncio.get_running_loop().time() > deadline:
                log.warning("domain %d is dead, but somebody still maps its memory", domid)
                return
            await asyncio.sleep(POLL_S)

    def bury(self, domain):
        """Move a domain to the records; one that xend did not make leaves none."""
        ours = self.domains.pop(domain.domid, None)
        domain.domid = None
        if ours:
            domain.info = None
            self.names.discard(domain.config.name)
            self.ended = [*self.ended, domain][-ENDED_MAX:]
            domain.console.end()
        self.publish("ended", domain)

    def publish(self, event, domain):
        """Tell those who follow GET /api/v1/events."""
        for queue in self.listeners:
            if queue.qsize() < EVENTS_MAX:
                queue.put_nowait({"event": event, "domain": domain.describe()})
