"""The HTTP interface for debuggers: gdb's protocol over a WebSocket, and the kernel's file with its
symbols.
"""

import asyncio
import contextlib

from web import FileResponse, Routes

from xend.errors import not_found

routes = Routes()


@routes.get("/api/v1/domains/{domain}/debugger")
async def debug_domain(request):
    """A WebSocket: binary frames carry gdb's remote serial protocol. The domain stops, and goes on
    when the connection ends.
    """
    manager, debuggers = request.app["manager"], request.app["debuggers"]
    domain = manager.live(request.names["domain"])
    manager.refresh(domain)
    outgoing = asyncio.Queue()
    session = debuggers.attach(domain, outgoing.put_nowait)
    async with contextlib.AsyncExitStack() as at_end:
        at_end.push_async_callback(debuggers.detach, domain, session)
        socket = request.web_socket()
        sending = asyncio.ensure_future(_send(socket, outgoing))
        at_end.callback(sending.cancel)
        async for message in socket:
            if isinstance(message, bytes):
                await session.feed(message)
    return socket


async def _send(socket, outgoing):
    """Pass on what the session says, in order."""
    while True:
        await socket.send(await outgoing.get())


@routes.get("/api/v1/domains/{domain}/kernel")
async def get_kernel(request):
    """Download the ELF file that a domain was made from."""
    domain = request.app["manager"].find(request.names["domain"])
    if domain.elf_path is None:
        message = f"xend has no kernel file of '{domain.name()}'."
        raise not_found("no_kernel", message)
    return FileResponse(domain.elf_path)
