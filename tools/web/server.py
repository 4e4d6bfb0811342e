"""What is served, and where."""

import asyncio

from web.connection import Connection


class App:
    """What a server serves.

    Args: routes; around: a coroutine function (request, handler) that calls the handler and turns
          what it raises into answers; it also gets the HttpError of a request without a handler.
    """

    def __init__(self, routes, around):
        self.routes, self.around = routes, around
        self.state = {}

    def __getitem__(self, name):
        return self.state[name]

    def __setitem__(self, name, value):
        self.state[name] = value

    async def answer(self, request):
        """Return the answer to a request."""

        async def handle(request):
            handler, request.names = self.routes.find(request.method, request.path)
            return await handler(request)

        return await self.around(request, handle)


class Server:
    """Connections of one app."""

    def __init__(self, app):
        self.app = app
        self.listeners, self.connections = [], set()

    async def listen(self, sock):
        """Serve what connects to a bound socket."""
        loop = asyncio.get_running_loop()
        self.listeners.append(await loop.create_server(lambda: Connection(self), sock=sock))

    async def close(self):
        """Stop listening, and end all connections."""
        for listener in self.listeners:
            listener.close()
        tasks = [connection.task for connection in self.connections if connection.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
