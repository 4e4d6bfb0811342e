"""The HTTP interface for debuggers: gdb's protocol over a WebSocket, and the kernel's file with its
symbols.
"""

import asyncio

from web import BINARY, FileResponse, Routes, WebSocket

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
    socket, outgoing = WebSocket(), asyncio.Queue()
    session = debuggers.attach(domain, outgoing.put_nowait)
    sending = asyncio.ensure_future(_send(socket, outgoing))
    try:
        await socket.accept(request)
        async for message in socket:
            if message.kind == BINARY:
                await session.feed(message.data)
    finally:
        sending.cancel()
        await debuggers.detach(domain, session)
    await socket.close()
    return socket


async def _send(socket, outgoing):
    """Pass on what the session says, in order."""
    while not socket.accepted:
        await asyncio.sleep(0)
    while True:
        await socket.send(BINARY, await outgoing.get())


@routes.get("/api/v1/domains/{domain}/kernel")
async def get_kernel(request):
    """Download the ELF file that a domain was made from."""
    domain = request.app["manager"].find(request.names["domain"])
    if domain.elf_path is None:
        message = f"xend has no kernel file of '{domain.name()}'."
        raise not_found("no_kernel", message)
    return FileResponse(domain.elf_path)
