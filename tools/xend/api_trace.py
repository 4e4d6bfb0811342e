"""The HTTP interface for traces: start one and read it, ask how it is, stop it."""

from web import Routes, StreamResponse, json_response

from xend.errors import bad_request
from xend.tracing import parse

routes = Routes()
TYPE = "application/octet-stream"


@routes.get("/api/v1/trace")
async def get_trace(request):
    return json_response(request.app["tracing"].describe())


@routes.delete("/api/v1/trace")
async def stop_trace(request):
    request.app["tracing"].stop()
    return json_response(request.app["tracing"].describe())


@routes.post("/api/v1/trace")
async def start_trace(request):
    """Start a trace; the answer is the trace itself, in the format of xentrace's files, until it
    ends. Nothing of it is kept.
    """
    try:
        wanted = parse(await request.json())
    except ValueError as error:
        raise bad_request("bad_json", f"The request's body is not JSON: {error}.") from None
    response = StreamResponse(TYPE)

    async def ready():
        await response.prepare(request)

    await request.app["tracing"].record(wanted, ready, response.write)
    return response
