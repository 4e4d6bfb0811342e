"""The toolstack's HTTP server: what clients may send, rightly and wrongly, and when they leave."""

import asyncio
import functools
import os
import socket

import pytest
from aiohttp import ClientSession, WSMsgType
from web import (
    App,
    FileResponse,
    HttpError,
    Response,
    Routes,
    Server,
    StreamResponse,
    json_response,
)

from tests.toolstack.xend_in_process import until
from tools.setup.patience import PATIENCE_S

LARGE = 3 << 20
POST = b"POST /length HTTP/1.1\r\nHost: h\r\n"


class Site:
    """A server with a route for each kind of answer, and what happened to their handlers."""

    def __init__(self, folder):
        self.ended, self.begun = asyncio.Event(), asyncio.Event()
        self.file = folder / "file"
        self.file.write_bytes(os.urandom(LARGE))
        self.heartbeat_s = 30

    async def __aenter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.server = Server(App(self.routes(), self.around))
        await self.server.listen(self.listener)
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
        web_socket = request.web_socket(heartbeat_s=self.heartbeat_s)
        async for message in web_socket:
            await web_socket.send(message)
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
    request = POST + b"Content-Length: 3\r\n\r\nabc"
    last = request.replace(b"Content-", b"Connection: close\r\nContent-")
    answer = await site.raw(request + request + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 3 and answer.endswith(b"\r\n\r\n3")


@on_site
async def test_an_old_client_gets_what_it_understands(site):
    answer = await site.raw(b"GET /breaks HTTP/1.0\r\n\r\n")
    assert b"chunked" not in answer and answer.endswith(b"\r\n\r\nbegun")


@on_site
async def test_a_folded_line_is_no_header(site):
    folded = b"A: b\r\n Content-Length: 3\r\nConnection: close\r\n\r\nabc"
    answer = await site.raw(POST + folded)
    assert answer.count(b"HTTP/1.1") == 1 and answer.endswith(b"\r\n\r\n0")


BAD_REQUESTS = {
    b"GET /x\r\n\r\n": 400,
    b"GET x HTTP/1.1\r\nHost: h\r\n\r\n": 400,
    b"\x16\x03\x01\r\n\r\n": 400,
    b"GET / HTTP/2.0\r\n\r\n": 505,
    b"HEAD / HTTP/2.0\r\n\r\n": 505,
    b"GET / HTTP/1.1\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: h\r\nno header\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\n folded: c\r\nHost: h\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n": 400,
    POST + b"Content-Length: -1\r\n\r\n": 400,
    POST + b"Content-Length: " + b"1" * 5000 + b"\r\n\r\n": 400,
    POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n": 400,
    POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
    POST + b"Transfer-Encoding: gzip\r\n\r\n": 501,
    POST + b"A: " + b"a" * 20_000 + b"\r\n\r\n": 431,
}


@pytest.mark.parametrize("data", BAD_REQUESTS, ids=range(len(BAD_REQUESTS)))
def test_what_is_no_request(tmp_path, data):
    @on_site
    async def refused(site):
        assert status_of(await site.raw(data)) == BAD_REQUESTS[data]

    refused(tmp_path)


CHUNKED = POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
BAD_CHUNKS = {
    b"x\r\n": 400,
    b"1\r\nab\r\n0\r\n\r\n": 400,
    b"\r\n": 400,
    b"-1\r\n": 400,
    b"1" * 99999: 431,
}


@pytest.mark.parametrize("chunks", BAD_CHUNKS, ids=range(len(BAD_CHUNKS)))
def test_what_is_no_chunk(tmp_path, chunks):
    @on_site
    async def refused(site):
        assert status_of(await site.raw(CHUNKED + chunks)) == BAD_CHUNKS[chunks]

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
    answer = await site.raw(b"GET /breaks HTTP/1.1\r\nHost: h\r\n\r\n")
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


@on_site
async def test_pings_whose_answers_nobody_reads_do_not_pile_up(site):
    site.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, site.address)
    _, writer = await asyncio.open_connection(sock=sock)
    writer.write(HANDSHAKE + (b"\x89\xfd" + bytes(4 + 125)) * (LARGE // 128))
    await until(lambda: any(_stopped(connection) for connection in site.server.connections))
    writer.transport.abort()


def _stopped(connection):
    """Tell whether the server has stopped reading from a client, with no more than a bit to say."""
    transport = connection.writer.transport
    return not transport.is_reading() and transport.get_write_buffer_size() < LARGE // 10


HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
FRAMES = {
    "unmasked": (b"\x82\x01a", 1002),
    "reserved": (b"\xf2\x80abcd", 1002),
    "unknown": (b"\x83\x80abcd", 1002),
    "continues nothing": (b"\x80\x80abcd", 1002),
    "a ping in parts": (b"\x09\x80abcd", 1002),
    "no text": (b"\x81\x81\0\0\0\0\xff", 1007),
    "too big": (b"\x82\xff" + (1 << 40).to_bytes(8, "big") + bytes(5 << 20), 1009),
    "closes": (b"\x88\x82\0\0\0\0\x03\xe8", 1000),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_that_end_a_web_socket(tmp_path, name):
    @on_site
    async def ends(site):
        frame, code = FRAMES[name]
        answer = await site.raw(HANDSHAKE + frame)
        opcode, _, *said = answer.partition(b"\r\n\r\n")[2]
        assert (opcode, bytes(said[:2])) == (0x88, code.to_bytes(2, "big"))

    ends(tmp_path)


WRONG_HANDSHAKES = {
    "a later version": ((b": 13", b": 14"), 426),
    "no version": ((b"-Version", b"-Wersion"), 400),
    "no key": ((b"-Key", b"-Lock"), 400),
    "another protocol": ((b": websocket", b": teapot"), 400),
    "HEAD": ((b"GET", b"HEAD"), 400),
    "a body": ((b"Host", b"Content-Length: 1\r\nHost"), 400),
    "an old client": ((b"/1.1\r\nHost: h", b"/1.0"), 400),
    "a host that is no name": ((b"Host: h", b"Host: " + b"h" * 70 + b".\xff"), 400),
}


@pytest.mark.parametrize("name", WRONG_HANDSHAKES)
def test_a_web_socket_is_asked_for_rightly(tmp_path, name):
    @on_site
    async def refused(site):
        change, status = WRONG_HANDSHAKES[name]
        last = HANDSHAKE.replace(b"n: Upgrade", b"n: Upgrade, close")
        assert status_of(await site.raw(last.replace(*change))) == status

    refused(tmp_path)


@on_site
async def test_a_web_socket_stands_where_only_one_can(site):
    async with site.client.get("/echo") as response:
        assert response.status == 400


@on_site
async def test_fragments_are_one_message(site):
    frames = b"\x02\x81\0\0\0\0a" + b"\x89\x80\0\0\0\0" + b"\x80\x81\0\0\0\0b" + b"\x88\x80\0\0\0\0"
    answer = await site.raw(HANDSHAKE + frames)
    assert answer.endswith(b"\x8a\0" + b"\x82\x02ab" + b"\x88\0")
