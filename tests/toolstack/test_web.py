"""The toolstack's HTTP server: what clients may send, rightly and wrongly, and when they leave."""

import asyncio
import functools
import os
import socket

import pytest
from aiohttp import ClientSession, WSMsgType
from web import (
    BINARY,
    App,
    FileResponse,
    HttpError,
    Response,
    Routes,
    Server,
    StreamResponse,
    WebSocket,
    json_response,
)

from tools.setup.patience import PATIENCE_S

LARGE = 3 << 20


class Site:
    """A server with a route for each kind of answer, and what happened to their handlers."""

    def __init__(self, folder):
        self.ended, self.begun = asyncio.Event(), asyncio.Event()
        self.file = folder / "file"
        self.file.write_bytes(os.urandom(LARGE))
        self.heartbeat_s = 30

    async def __aenter__(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        self.server = Server(App(self.routes(), self.around))
        await self.server.listen(listener)
        self.client = ClientSession(f"http://127.0.0.1:{self.address[1]}")
        return self

    async def __aexit__(self, *_):
        await self.client.close()
        await self.server.close()

    async def around(self, request, handler):
        try:
            return await handler(request)
        except HttpError as error:
            return Response(str(error), status=error.status, headers=error.headers)

    def routes(self):
        routes = Routes()
        routes.add("POST", "/length", self.length)
        routes.add("POST", "/json", self.json)
        routes.add("POST", "/unread", self.unread)
        routes.add("GET", "/named/{name}", self.named)
        routes.add("GET", "/file", self.send_file)
        routes.add("GET", "/stream", self.stream)
        routes.add("GET", "/breaks", self.breaks)
        routes.add("GET", "/echo", self.echo)
        return routes

    async def length(self, request):
        return Response(str(sum([len(piece) async for piece in request.pieces()])))

    async def json(self, request):
        return json_response(await request.json())

    async def unread(self, request):
        raise HttpError(409, "no")

    async def named(self, request):
        return json_response([request.names["name"], request.query])

    async def send_file(self, request):
        return FileResponse(self.file)

    async def stream(self, request):
        response = StreamResponse("text/plain")
        await response.prepare(request)
        await response.write(b"begun")
        self.begun.set()
        try:
            await asyncio.sleep(PATIENCE_S)
        finally:
            self.ended.set()

    async def breaks(self, request):
        response = StreamResponse("text/plain")
        await response.prepare(request)
        await response.write(b"begun")
        raise HttpError(409, "too late")

    async def echo(self, request):
        web_socket = WebSocket(self.heartbeat_s)
        await web_socket.accept(request)
        async for message in web_socket:
            await web_socket.send(*message)
        self.ended.set()
        return web_socket

    async def raw(self, data, end=False):
        """Send bytes on a connection of their own; returns all that comes until it ends."""
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(data)
        if end:
            writer.write_eof()
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.read()
        writer.close()
        return answer


def on_site(test):
    """Run an async test with a Site."""

    @functools.wraps(test)
    def run(tmp_path, *parameters, **named):
        async def main():
            async with Site(tmp_path) as site:
                await test(site, *parameters, **named)

        asyncio.run(main())

    del run.__wrapped__
    return run


def status_of(answer):
    return int(answer.split(b" ", 2)[1])


@on_site
async def test_answers_of_every_kind(site):
    async with site.client.get("/named/a%2Fb%20c?x=1&y=&x=2") as response:
        assert await response.json() == ["a/b c", {"x": "2", "y": ""}]
    async with site.client.get("/file") as response:
        assert await response.read() == site.file.read_bytes()
    async with site.client.head("/file") as response:
        assert response.headers["Content-Length"] == str(LARGE) and not await response.read()
    async with site.client.post("/json", json={"a": [1]}) as response:
        assert await response.json() == {"a": [1]}


@on_site
async def test_what_is_not_there(site):
    async with site.client.get("/nothing") as response:
        assert response.status == 404
    async with site.client.delete("/json") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")


@on_site
async def test_bodies_whole_and_in_chunks(site):
    async def pieces():
        for size in (1, 70_000, LARGE):
            yield bytes(size)

    for body, length in ((bytes(LARGE), LARGE), (pieces(), LARGE + 70_001), (None, 0)):
        async with site.client.post("/length", data=body) as response:
            assert await response.text() == str(length)
    async with site.client.post("/length", data=b"abc", expect100=True) as response:
        assert await response.text() == "3"


@on_site
async def test_a_json_body_has_a_limit(site):
    async with site.client.post("/json", data=bytes(LARGE)) as response:
        assert response.status == 413


@on_site
async def test_a_client_that_still_sends_reads_the_refusal(site):
    async with site.client.post("/unread", data=bytes(LARGE)) as response:
        assert (response.status, await response.text()) == (409, "no")


@on_site
async def test_requests_follow_each_other(site):
    request = b"POST /length HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
    last = request.replace(b"Content-", b"Connection: close\r\nContent-")
    answer = await site.raw(request + request + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 3 and answer.endswith(b"\r\n\r\n3")


@on_site
async def test_an_old_client_gets_what_it_understands(site):
    answer = await site.raw(b"GET /breaks HTTP/1.0\r\n\r\n")
    assert b"chunked" not in answer and answer.endswith(b"\r\n\r\nbegun")


BAD_REQUESTS = {
    b"GET /x\r\n\r\n": 400,
    b"GET x HTTP/1.1\r\n\r\n": 400,
    b"\x16\x03\x01\r\n\r\n": 400,
    b"GET / HTTP/2.0\r\n\r\n": 505,
    b"GET / HTTP/1.1\r\nno header\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nA: b\r\n folded: c\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nA : b\r\n\r\n": 400,
    b"POST /length HTTP/1.1\r\nContent-Length: -1\r\n\r\n": 400,
    b"POST /length HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n": 400,
    b"POST /length HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
    b"POST /length HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n": 501,
    b"GET / HTTP/1.1\r\nA: " + b"a" * 20_000 + b"\r\n\r\n": 431,
}


@pytest.mark.parametrize("data", BAD_REQUESTS, ids=range(len(BAD_REQUESTS)))
def test_what_is_no_request(tmp_path, data):
    @on_site
    async def refused(site):
        assert status_of(await site.raw(data)) == BAD_REQUESTS[data]

    refused(tmp_path)


CHUNKED = b"POST /length HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "chunks", [b"x\r\n", b"1\r\nab\r\n0\r\n\r\n", b"\r\n", b"-1\r\n", b"1" * 99999]
)
def test_what_is_no_chunk(tmp_path, chunks):
    @on_site
    async def refused(site):
        assert status_of(await site.raw(CHUNKED + chunks)) == 400

    refused(tmp_path)


@on_site
async def test_chunks_with_extensions_and_trailers(site):
    answer = await site.raw(CHUNKED + b"2;a=b\r\nxy\r\n0\r\nTrailer: x\r\n\r\n", end=False)
    assert answer.endswith(b"\r\n\r\n2")


@on_site
async def test_a_stream_ends_when_its_client_leaves(site):
    response = await site.client.get("/stream")
    await site.begun.wait()
    response.close()
    async with asyncio.timeout(PATIENCE_S):
        await site.ended.wait()


@on_site
async def test_an_error_amid_a_stream_is_not_taken_for_its_end(site):
    answer = await site.raw(b"GET /breaks HTTP/1.1\r\n\r\n")
    assert b"begun" in answer and b"too late" not in answer and not answer.endswith(b"0\r\n\r\n")


@on_site
async def test_the_server_ends_with_its_streams(site):
    response = await site.client.get("/stream")
    await site.begun.wait()
    await site.server.close()
    assert site.ended.is_set()
    response.close()


@on_site
async def test_web_sockets_carry_messages(site):
    async with site.client.ws_connect("/echo", max_msg_size=0) as web_socket:
        for size in (0, 125, 126, 65535, 65536, LARGE):
            await web_socket.send_bytes(os.urandom(size))
            assert len((await web_socket.receive()).data) == size
        await web_socket.send_str("text")
        assert (await web_socket.receive()).data == "text"
        await web_socket.ping(b"there?")
        await web_socket.send_str("on")
        assert (await web_socket.receive()).data == "on"
    assert web_socket.close_code == 1000 and site.ended.is_set()


@on_site
async def test_a_web_socket_that_says_nothing_is_dropped(site):
    site.heartbeat_s = 0.01
    web_socket = await site.client.ws_connect("/echo", autoping=False)
    async with asyncio.timeout(PATIENCE_S):
        assert (await web_socket.receive()).type == WSMsgType.PING
        await site.ended.wait()


HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
FRAMES = {
    "unmasked": (b"\x82\x01a", 1002),
    "reserved": (b"\xf2\x80abcd", 1002),
    "unknown": (b"\x83\x80abcd", 1002),
    "continues nothing": (b"\x80\x80abcd", 1002),
    "a ping in parts": (b"\x09\x80abcd", 1002),
    "too big": (b"\x82\xff" + (1 << 40).to_bytes(8, "big") + b"abcd", 1009),
    "closes": (b"\x88\x82\0\0\0\0\x03\xe8", 1000),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_that_end_a_web_socket(tmp_path, name):
    @on_site
    async def ends(site):
        frame, code = FRAMES[name]
        answer = await site.raw(HANDSHAKE + frame)
        assert answer.endswith(b"\x88\x02" + code.to_bytes(2, "big"))

    ends(tmp_path)


@on_site
async def test_a_web_socket_is_asked_for_rightly(site):
    for wrong in (HANDSHAKE.replace(b"13", b"12"), HANDSHAKE.replace(b"Key", b"Lock")):
        assert status_of(await site.raw(wrong.replace(b"n: Upgrade", b"n: close"))) == 400
    async with site.client.get("/echo") as response:
        assert response.status == 400


@on_site
async def test_fragments_are_one_message(site):
    frames = b"\x02\x81\0\0\0\0a" + b"\x89\x80\0\0\0\0" + b"\x80\x81\0\0\0\0b" + b"\x88\x80\0\0\0\0"
    answer = await site.raw(HANDSHAKE + frames)
    assert answer.endswith(bytes([0x80 | BINARY, 2]) + b"ab" + b"\x88\x02\x03\xe8")
