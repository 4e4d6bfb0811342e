"""A WebSocket client in a few lines, for the console stream.

Source: RFC 6455. Client frames are masked as it demands; the server's may come in fragments.
"""

import base64
import contextlib
import json
import os
import re
import socket
import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class WebSocketError(Exception):
    """The server did not accept, or broke the protocol."""


class WebSocket:
    """An open connection; `fileno` is for select, but `pending` must be asked first."""

    def __init__(self, host, port, path, timeout_s=30):
        self.socket = socket.create_connection((host, port), timeout_s)
        self.buffer = bytearray()
        self.kind, self.message = None, bytearray()  # of which some fragments are here
        self.messages = []
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
        self.socket.sendall(request.encode())
        head = self._head()
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            raise WebSocketError(self._refusal(head))
        self.socket.settimeout(None)

    def _head(self):
        while b"\r\n\r\n" not in self.buffer:
            self._fill()
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        self.buffer[:] = rest
        return head

    def _refusal(self, head):
        """Return what the server says instead of a connection: xend's sentence, if there is one."""
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        while length and len(self.buffer) < int(length[1]):
            self._fill()
        try:
            return json.loads(self.buffer)["error"]["message"]
        except (ValueError, KeyError, TypeError):
            return head.split(b"\r\n", 1)[0].decode(errors="replace")

    def _fill(self):
        data = self.socket.recv(65536)
        if not data:
            raise WebSocketError("xend closed the connection")
        self.buffer += data

    def fileno(self):
        return self.socket.fileno()

    def pending(self):
        """Say whether a whole frame is here, which select would not tell."""
        return bool(self.messages) or self._frame_end() is not None

    def _frame_end(self):
        """Return `(start of payload, end)` of the first frame, or None while it is incomplete."""
        if len(self.buffer) < 2:
            return None
        size, start = self.buffer[1] & 127, 2
        if size >= 126:
            width, form = (2, ">H") if size == 126 else (8, ">Q")
            if len(self.buffer) < 2 + width:
                return None
            (size,), start = struct.unpack_from(form, self.buffer, 2), 2 + width
        return (start, start + size) if len(self.buffer) >= start + size else None

    def receive(self):
        """Wait for the next message, `(TEXT or BINARY, bytes)`; None when the server closed."""
        while not self.messages:
            self.messages = self.arrived()
        return self.messages.pop(0)

    def arrived(self):
        """Return the messages that are complete, and None behind them when the server closed.

        Waits only if nothing at all has come; a ping is answered and is no message.
        """
        messages, self.messages = self.messages, []
        if not messages and not self.pending():
            self._fill()
        while (frame := self._frame_end()) is not None:
            first, payload = self.buffer[0], bytes(self.buffer[frame[0] : frame[1]])
            del self.buffer[: frame[1]]
            opcode = first & 15
            if opcode == CLOSE:
                return [*messages, None]
            if opcode == PING:
                self.send(payload, PONG)
            elif opcode in (CONTINUATION, TEXT, BINARY):
                self.kind = opcode or self.kind
                self.message += payload
                if first & 128:
                    messages.append((self.kind, bytes(self.message)))
                    self.message = bytearray()
        return messages

    def send(self, payload, opcode=BINARY):
        """Send one frame."""
        size = len(payload)
        if size < 126:
            head = struct.pack(">BB", 128 | opcode, 128 | size)
        elif size < 65536:
            head = struct.pack(">BBH", 128 | opcode, 254, size)
        else:
            head = struct.pack(">BBQ", 128 | opcode, 255, size)
        mask = os.urandom(4)
        masked = int.from_bytes(payload, "big") ^ int.from_bytes(
            (mask * (size // 4 + 1))[:size], "big"
        )
        self.socket.sendall(head + mask + masked.to_bytes(size, "big"))

    def close(self):
        """Say goodbye and end the connection."""
        with contextlib.suppress(OSError):
            self.send(b"", CLOSE)
        self.socket.close()
