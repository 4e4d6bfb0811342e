"""The HTTP interface, /api/v1, as openapi.json describes it.

Every answer but logs and downloads is JSON. An error is {"error": {"code", "message"}}, where the
message is one sentence for people and the code is for programs.
"""

import asyncio
import json
import logging
from pathlib import Path

from web import (
    App,
    FileResponse,
    HttpError,
    Response,
    Routes,
    StreamResponse,
    json_response,
)
from xen import sysctl
from xen.privcmd import HypercallError

from xend import api_debug, api_trace
from xend import config as configuration
from xend.debuggers import Debuggers
from xend.errors import Refusal, bad_request, not_found
from xend.tracing import Tracing

OPENAPI = Path(__file__).with_name("openapi.json")
FOLLOW_S = 0.3
PLAIN = "text/plain; charset=utf-8"

log = logging.getLogger("xend")
routes = Routes()


def make_app(manager, files, events):
    """Return the application that a web.Server serves."""
    every = Routes()
    for table in (routes, api_debug.routes, api_trace.routes):
        every.include(table)
    app = App(every, errors_as_json)
    app["manager"], app["files"] = manager, files
    app["debuggers"] = Debuggers(manager, events)
    app["tracing"] = Tracing(manager, events)
    return app


def _error(status, code, message, headers=None):
    value = {"error": {"code": code, "message": message}}
    return json_response(value, status=status, headers=headers)


async def errors_as_json(request, handler):
    """Give every refusal and failure its one shape."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return _error(refusal.status, refusal.code, refusal.message)
    except HttpError as error:
        message = f"{request.method} {request.path}: {error}; see /api/v1/openapi.json."
        code = error.reason.lower().replace(" ", "_")
        return _error(error.status, code, message, error.headers)
    except ConnectionError:
        raise
    except HypercallError as error:
        log.exception("%s %s", request.method, request.path)
        return _error(500, "hypervisor", f"The hypervisor refused: {error}.")
    except Exception as error:
        log.exception("%s %s", request.method, request.path)
        return _error(500, "internal", f"xend failed, which is a bug: {error!r}. Its log has more.")


async def _json(request):
    try:
        return await request.json()
    except ValueError as error:
        message = f"The request's body is not JSON: {error}."
        raise bad_request("bad_json", message) from None


@routes.get("/api/v1/openapi.json")
async def get_openapi(request):
    return Response(body=OPENAPI.read_bytes(), content_type="application/json")


@routes.get("/api/v1/host")
async def get_host(request):
    manager = request.app["manager"]
    info = sysctl.physinfo(manager.xc)
    major, minor, extra = sysctl.xen_version(manager.xc)
    return json_response(
        {
            "hypervisor": f"{major}.{minor}{extra}",
            "capabilities": sysctl.capabilities(manager.xc),
            "cpus": info.nr_cpus,
            "cpu_khz": info.cpu_khz,
            "memory_mib": info.total_pages >> 8,
            "free_memory_mib": info.free_pages >> 8,
            "free_pages": info.free_pages,
            "domains": len(manager.all()),
        }
    )


@routes.get("/api/v1/host/topology")
async def get_topology(request):
    xc = request.app["manager"].xc
    cpus = sysctl.cputopoinfo(xc)
    nodes = sysctl.numainfo(xc)
    return json_response(
        {
            "cpus": [
                {"cpu": number, "core": place.core, "socket": place.socket, "node": place.node}
                for number, place in enumerate(cpus)
            ],
            "nodes": [
                {
                    "node": number,
                    "memory_mib": memory.memsize >> 20,
                    "free_memory_mib": memory.memfree >> 20,
                    "distances": distances,
                }
                for number, (memory, distances) in enumerate(nodes)
            ],
        }
    )


@routes.get("/api/v1/host/dmesg")
async def get_dmesg(request):
    """The messages kept, or with ?follow=1 also all that come, for as long as the client stays."""
    xc = request.app["manager"].xc
    text, position = sysctl.readconsole(xc)
    if request.query.get("follow") != "1":
        return Response(text)
    response = StreamResponse(PLAIN)
    await response.prepare(request)
    while True:
        await response.write(text.encode())
        await asyncio.sleep(FOLLOW_S)
        text, position = sysctl.readconsole(xc, since=position)


@routes.delete("/api/v1/host/dmesg")
async def clear_dmesg(request):
    text, _ = sysctl.readconsole(request.app["manager"].xc, clear=True)
    return Response(text)


@routes.post("/api/v1/host/debug-keys")
async def press_debug_keys(request):
    """The answer is what the hypervisor said to the keys."""
    xc, keys = request.app["manager"].xc, configuration.debug_keys(await _json(request))
    _, position = sysctl.readconsole(xc)
    sysctl.debug_keys(xc, keys)
    return Response(sysctl.readconsole(xc, since=position)[0])


@routes.get("/api/v1/domains")
async def list_domains(request):
    manager = request.app["manager"]
    domains = manager.all()
    if request.query.get("ended") == "1":
        domains += manager.ended
    return json_response({"domains": [domain.describe() for domain in domains]})


@routes.post("/api/v1/domains")
async def create_domain(request):
    config = configuration.parse(await _json(request))
    domain = await request.app["manager"].create(config)
    location = {"Location": f"/api/v1/domains/{config.name}"}
    return json_response(domain.describe(), status=201, headers=location)


def _find(request):
    return request.app["manager"].find(request.names["domain"])


def _console(request):
    domain = _find(request)
    if domain.console is None:
        message = f"xend does not serve the console of '{domain.name()}', which it did not make."
        raise not_found("no_console", message)
    return domain.console


def _live(request):
    return request.app["manager"].live(request.names["domain"])


@routes.get("/api/v1/domains/{domain}")
async def get_domain(request):
    return json_response(_find(request).describe())


@routes.delete("/api/v1/domains/{domain}")
async def destroy_domain(request):
    manager, domain = request.app["manager"], _find(request)
    if domain.domid is None:
        manager.forget_ended(domain.config.name)
    else:
        manager.check_live(domain)
        await manager.destroy(domain)
    return json_response(domain.describe())


@routes.get("/api/v1/domains/{domain}/connected")
async def wait_connected(request):
    """The domain, once its devices are connected, or once it has ended."""
    manager, domain = request.app["manager"], _find(request)
    await manager.wait_connected(domain)
    manager.refresh(domain)
    return json_response(domain.describe())


@routes.post("/api/v1/domains/{domain}/actions/{verb}")
async def act_on_domain(request):
    manager, verb = request.app["manager"], request.names["verb"]
    if verb not in _ACTIONS:
        hint = configuration.suggestion(verb, _ACTIONS) or f" Known actions: {', '.join(_ACTIONS)}."
        raise not_found("no_such_action", f"There is no action '{verb}'.{hint}")
    domain = _live(request)
    done = _ACTIONS[verb](manager, domain)
    if asyncio.iscoroutine(done):
        await done
    manager.refresh(domain)
    return json_response(domain.describe(), status=202)


_ACTIONS = {
    "pause": lambda manager, domain: manager.pause(domain),
    "unpause": lambda manager, domain: manager.unpause(domain),
    "shutdown": lambda manager, domain: manager.ask_to_stop(domain, "poweroff"),
    "reboot": lambda manager, domain: manager.ask_to_stop(domain, "reboot"),
    "destroy": lambda manager, domain: manager.destroy(domain),
}


@routes.get("/api/v1/domains/{domain}/console")
async def get_console(request):
    """The backlog, or with ?follow=1 all output until the domain ends."""
    console = _console(request)
    if request.query.get("follow") != "1":
        text = bytes(console.backlog).decode(errors="replace")
        return Response(text)
    response = StreamResponse(PLAIN)
    await response.prepare(request)
    queue = console.subscribe()
    try:
        while (data := await queue.get()) is not None:
            await response.write(data)
    finally:
        console.unsubscribe(queue)
    return response


@routes.get("/api/v1/domains/{domain}/console/stream")
async def stream_console(request):
    """A WebSocket: binary frames carry the console both ways; a last text frame says how the domain
    ended.
    """
    domain, console = _find(request), _console(request)
    socket = request.web_socket()
    queue = console.subscribe()
    typing = asyncio.ensure_future(_type(socket, console, queue))
    try:
        while (data := await queue.get()) is not None:
            await socket.send(data)
        if not socket.closed:
            await socket.send(json.dumps({"event": "end", "exit": domain.exit}))
    except ConnectionResetError:
        pass
    finally:
        console.unsubscribe(queue)
        typing.cancel()
        await socket.close()
    return socket


async def _type(socket, console, queue):
    """Pass a client's input to the guest; when the client is gone, end its subscription."""
    async for message in socket:
        console.type(message.encode() if isinstance(message, str) else message)
    queue.put_nowait(None)


@routes.get("/api/v1/domains/{domain}/disks/{vdev}")
async def get_disk(request):
    """Download a domain's disk as it is now; also after the domain's end."""
    manager, domain, vdev = request.app["manager"], _find(request), request.names["vdev"]
    for disk in domain.config.disks if domain.config else ():
        if disk.vdev == vdev:
            return FileResponse(manager.disks.path_of(domain.config.name, disk))
    message = f"The domain '{domain.name()}' has no disk '{vdev}'."
    raise not_found("no_such_disk", message)


@routes.post("/api/v1/files")
async def post_file(request):
    described = await request.app["files"].receive(request.pieces())
    return json_response(described, status=201)


@routes.get("/api/v1/files/{file}")
async def get_file(request):
    return json_response(request.app["files"].describe(request.names["file"]))


@routes.get("/api/v1/events")
async def get_events(request):
    """Server-sent events: one for each domain that is created, shuts down or ends."""
    manager = request.app["manager"]
    response = StreamResponse("text/event-stream")
    await response.prepare(request)
    queue = asyncio.Queue()
    manager.listeners.add(queue)
    try:
        while True:
            event = await queue.get()
            await response.write(f"data: {json.dumps(event)}\n\n".encode())
    finally:
        manager.listeners.discard(queue)
