"""Framing of gdb's remote serial protocol: `$data#checksum`, acknowledgements, the interrupt byte.

Source: GDB manual, appendix E.1. A byte stream goes in, whole requests come out.
"""

INTERRUPT = object()  # what `Packets.feed` gives for the byte that Ctrl-C sends
_ESCAPE = 0x7D
_ESCAPED = b"$#}*"
PACKET_MAX = 1 << 16


def encode(data):
    """Return a packet; `data` may be text or bytes."""
    if isinstance(data, str):
        data = data.encode()
    body = bytearray()
    for byte in data:
        body += bytes((_ESCAPE, byte ^ 0x20)) if byte in _ESCAPED else bytes((byte,))
    return b"$%s#%02x" % (body, sum(body) & 0xFF)


def _unescape(body):
    out, escaped = bytearray(), False
    for byte in body:
        if not escaped and byte == _ESCAPE:
            escaped = True
        else:
            out.append(byte ^ 0x20 if escaped else byte)
            escaped = False
    return bytes(out)


class Packets:
    """Cuts a stream into packets; `acks` says whether each is to be acknowledged."""

    def __init__(self):
        self.buffer = bytearray()
        self.acks = True

    def feed(self, data):
        """Return `(requests, reply)`: each request bytes or INTERRUPT, and acknowledgements."""
        self.buffer += data
        requests, reply = [], b""
        while self.buffer:
            if self.buffer[0] != ord("$"):
                if self.buffer.pop(0) == 3:
                    requests.append(INTERRUPT)
                continue
            end = self.buffer.find(b"#")
            if end < 0 or len(self.buffer) < end + 3:
                if len(self.buffer) > PACKET_MAX:
                    self.buffer.clear()
                break
            body, checksum = bytes(self.buffer[1:end]), bytes(self.buffer[end + 1 : end + 3])
            del self.buffer[: end + 3]
            good = checksum.lower() == b"%02x" % (sum(body) & 0xFF)
            if good:
                requests.append(_unescape(body))
            if self.acks:
                reply += b"+" if good else b"-"
        return requests, reply
