"""xm's WebSocket client against a server of a few lines, which decides when what arrives."""

import os
import socket
import threading

import pytest
from xm import debugger, terminal
from xm.client import Client
from xm.websocket import BINARY, CLOSE, PING, PONG, TEXT, WebSocket

from tools.setup.patience import PATIENCE_S


class Server:
    """Accepts one client; `send` and `receive` speak in frames."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.greeter = threading.Thread(target=self.greet)
        self.greeter.start()

    def greet(self):
        self.socket, _ = self.listener.accept()
        self.socket.settimeout(PATIENCE_S)
        while not self.socket.recv(65536).endswith(b"\r\n\r\n"):
            pass
        self.socket.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")

    def connect(self):
        stream = WebSocket("127.0.0.1", self.port, "/")
        self.greeter.join()
        return stream

    def send(self, opcode, data=b"", final=True):
        self.socket.sendall(bytes((128 * final | opcode, len(data))) + data)

    def receive(self):
        head = self.socket.recv(6, socket.MSG_WAITALL)
        size = head[1] & 127
        data = self.socket.recv(size, socket.MSG_WAITALL) if size else b""
        return head[0] & 15, bytes(byte ^ head[2 + i % 4] for i, byte in enumerate(data))

    def close(self):
        self.listener.close()
        self.socket.close()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


def test_messages_in_fragments_and_several_at_once(server):
    stream = server.connect()
    server.send(BINARY, b"ab", final=False)
    server.send(PING, b"here?")
    server.send(0, b"cd")
    server.send(TEXT, b"text")
    assert stream.receive() == (BINARY, b"abcd") and stream.receive() == (TEXT, b"text")
    assert server.receive() == (PONG, b"here?")
    server.send(CLOSE)
    assert stream.receive() is None


def test_a_ping_does_not_hold_gdb_up(server, tmp_path):
    """gdb is quiet, the server pings, and then gdb speaks."""
    stream = server.connect()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.listen(1)
    carrying = threading.Thread(target=debugger.bridge, args=(stream, listener))
    carrying.start()
    with socket.socket(socket.AF_UNIX) as gdb:
        gdb.settimeout(PATIENCE_S)
        gdb.connect(str(tmp_path / "socket"))
        server.send(PING)
        assert server.receive() == (PONG, b"")
        gdb.sendall(b"$g#67")
        assert server.receive() == (BINARY, b"$g#67")
        server.send(BINARY, b"$00#60")
        assert gdb.recv(64) == b"$00#60"
    carrying.join(PATIENCE_S)
    assert not carrying.is_alive()
    listener.close()
    stream.close()


def test_a_ping_does_not_hold_typing_up(server, monkeypatch):
    """A console that was idle for long still takes keys."""
    keys, typed = os.pipe()
    monkeypatch.setattr("sys.stdin", os.fdopen(keys, "rb"))
    attached = threading.Thread(
        target=terminal.attach, args=(Client(f"http://127.0.0.1:{server.port}"), "guest")
    )
    attached.start()
    server.greeter.join()
    server.send(PING)
    assert server.receive() == (PONG, b"")
    os.write(typed, b"key")
    assert server.receive() == (BINARY, b"key")
    server.send(CLOSE)
    attached.join(PATIENCE_S)
    assert not attached.is_alive()
    os.close(typed)
