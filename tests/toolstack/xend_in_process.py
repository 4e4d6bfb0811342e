"""xend, xenstored and the consoles in this process, on the fake hypervisor; and a client that holds
xend to its OpenAPI file.
"""

import asyncio
import functools
import json
import re
import socket
import time

import jsonschema
from aiohttp import ClientSession, WSMsgType
from web import Server
from xen.xenstore import Xenstore
from xenconsoled.consoles import Consoles
from xend.api import OPENAPI, make_app
from xend.construction import Constructor
from xend.disks import Disks
from xend.files import Files
from xend.manager import Manager
from xenstored.daemon import Daemon

from tests.toolstack import tiny_guest
from tests.toolstack.fake_xen import FakeEvents, FakeXen
from tools.setup.patience import PATIENCE_S

DOCUMENT = json.loads(OPENAPI.read_text())


async def until(condition):
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.01)


class Xend:
    """Everything, started by `async with`. `call` speaks HTTP and checks each answer."""

    def __init__(self, folder):
        self.folder = folder
        self.events = FakeEvents()
        self.xen = FakeXen(self.events)
        self.kernel = str(folder / "kernel.elf")
        (folder / "kernel.elf").write_bytes(tiny_guest.build(tiny_guest.HELLO))
        self.socket = str(folder / "xenstored" / "socket")

    async def __aenter__(self):
        self.daemon = Daemon(self.xen, self.events, asyncio.get_running_loop())
        self.server = await self.daemon.listen(self.socket)
        await self.start()
        return self

    async def start(self):
        """Start xend, as after a restart if there are domains already."""
        self.store = await Xenstore.connect(self.socket)
        self.consoles = Consoles(self.xen, self.events, str(self.folder / "log"))
        files = Files(str(self.folder / "lib"))
        disks = Disks(files)
        constructor = Constructor(self.xen, self.store, self.consoles, files, disks)
        self.manager = Manager(self.xen, self.store, self.consoles, constructor, disks)
        await self.manager.start()
        self.web = Server(make_app(self.manager, files, self.events))
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        await self.web.listen(listener)
        self.client = ClientSession(self.url)

    async def stop(self):
        """End xend; its domains live on."""
        await self.client.close()
        await self.web.close()
        await self.store.close()

    async def __aexit__(self, *exc):
        await self.stop()
        self.server.close()

    async def call(self, method, path, body=None, data=None, status=None):
        """Make a request; returns its JSON or text after holding it to the OpenAPI file."""
        path = "/api/v1" + path
        async with self.client.request(method, path, json=body, data=data) as response:
            text = await response.text()
            value = json.loads(text) if response.content_type == "application/json" else text
            conform(method, path, response.status, response.content_type, value)
            assert response.status in ([status] if status else range(200, 300)), value
            return value

    async def refused(self, status, method, path, body=None, data=None):
        """Make a request that is refused, see that nothing has changed; returns the sentence."""
        before = self.footprint()
        value = await self.call(method, path, body, data, status)
        assert self.footprint() == before
        message = value["error"]["message"]
        assert message.endswith((".", "?")) and "Traceback" not in message
        return message

    async def create(self, name="guest", **changes):
        """Create a small domain."""
        config = {"name": name, "kernel": self.kernel, "memory": 4, **changes}
        return await self.call("POST", "/domains", config)

    def footprint(self):
        """Return all that a domain could leave behind: frames, xenstore nodes, ring mappings,
        ports.
        """
        nodes = [id(node) and node.value for node in self.daemon.store.root.walk()]
        mapped = {mfn for mfn, count in self.xen.memory.live.items() if count}
        return (
            len(self.xen.free),
            nodes,
            mapped,
            len(self.events.handlers),
            list(self.manager.names),
        )

    async def until(self, name, condition):
        """Wait until a domain's description satisfies a condition."""
        end = time.monotonic() + PATIENCE_S
        while not condition(domain := await self.call("GET", f"/domains/{name}")):
            assert time.monotonic() < end, f"still {domain}"
            await asyncio.sleep(0.01)
        return domain

    async def until_there(self, name):
        """Wait until a domain of this name runs."""
        while not any(domain.config.name == name for domain in self.manager.domains.values()):
            await asyncio.sleep(0.01)

    def console_page(self, domid):
        """Return the guest's view of its console ring."""
        mapping = self.consoles.mapped[domid][1]
        return mapping.view

    def print(self, domid, data):
        """Play a guest that prints."""
        ring = self.consoles.mapped[domid][0].ring
        for byte in data:
            ring.page[1024 + ring.words[0xC0C // 4] % 2048] = byte
            ring.words[0xC0C // 4] += 1
        self.events.fire(domid, 2)


def conform(method, path, status, content_type, value):
    """Assert that an answer is one that the OpenAPI file declares."""
    declared = _operation(method, path)["responses"].get(str(status))
    assert declared, f"{method} {path}: undeclared status {status}: {value}"
    if "$ref" in declared:
        declared = DOCUMENT["components"]["responses"]["Error"]
    schema = declared["content"][content_type]["schema"]
    root = {**schema, "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(root).validate(value)


def _operation(method, path):
    for template, operations in DOCUMENT["paths"].items():
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path.split("?")[0]):
            return operations[method.lower()]
    raise AssertionError(f"{path} is not in the OpenAPI file")


def with_xend(test):
    """Run an async test with a Xend as its first argument."""

    @functools.wraps(test)
    def run(tmp_path, **named):
        async def main():
            async with Xend(tmp_path) as xend:
                await test(xend, **named)

        asyncio.run(main())

    del run.__wrapped__
    names = test.__code__.co_varnames[1 : test.__code__.co_argcount]
    run.__signature__ = _signature(("tmp_path", *names))
    return run


def _signature(names):
    import inspect

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature([inspect.Parameter(name, kind) for name in names])


async def read_stream(socket):
    """Return a console stream's bytes and its last message."""
    data = b""
    async for message in socket:
        if message.type == WSMsgType.TEXT:
            return data, json.loads(message.data)
        data += message.data
    return data, None
