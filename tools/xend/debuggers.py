"""Debuggers of domains: at most one each, and what else may happen to a domain that has one.

While a debugger is attached nobody else pauses the domain, and one that crashed is kept until the
debugger leaves it.
"""

import asyncio
import contextlib
import logging

import xen_codecs as abi
from xen.privcmd import HypercallError

from xend.errors import conflict
from xend.gdbstub import Session
from xend.gdbstub_target import Target

log = logging.getLogger("xend")


class Debuggers:
    """All sessions; told by VIRQ_DEBUGGER that one of the domains has trapped."""

    def __init__(self, manager, events):
        self.manager = manager
        self.sessions = set()
        try:
            events.bind_virq(abi.VIRQ_DEBUGGER, self.notice)
        except OSError as error:  # sessions poll too, so this only makes them slower
            log.warning("cannot bind VIRQ_DEBUGGER: %s", error)

    def notice(self):
        """Some domain has trapped: every session looks whether it is its own."""
        for session in self.sessions:
            session.wakeup.set()

    def attach(self, domain, send):
        """Stop a domain and return the session of its debugger, to which `send` goes.

        Errors: Refusal 409, it has one already, or the hypervisor has no debugger interface.
        """
        self.manager.check_not_debugged(domain)
        target = Target(self.manager.xc, domain)
        try:
            target.attach()
        except HypercallError as error:
            message = f"This hypervisor lets no domain be debugged: {error}."
            raise conflict("not_debuggable", message) from None

        async def kill():
            await self.manager.destroy(domain)

        session = Session(target, send, kill, lambda: domain.exit)
        domain.debugger_gone = asyncio.Event()
        self.sessions.add(session)
        return session

    async def detach(self, domain, session):
        """End a session: the domain goes on, or ends at last if it has crashed."""
        try:
            with contextlib.suppress(HypercallError):
                await session.close()
        finally:  # or the domain could never be paused, debugged or, if it crashed, ended again
            self.sessions.discard(session)
            domain.debugger_gone.set()
