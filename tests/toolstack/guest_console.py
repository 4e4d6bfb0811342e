"""The console of a domain with a shell on it, from the developer's side of the HTTP interface."""

import re
import time

from xm.client import PREFIX, domain_path
from xm.websocket import TEXT, WebSocket

from tools.setup.patience import PATIENCE_S

POLL_S = 1


class GuestConsole:
    """Types commands and reads what they print."""

    def __init__(self, client, name):
        path = PREFIX + domain_path(name, "/console/stream")
        self.stream = WebSocket(client.host, client.port, path)
        self.text = ""

    def wait_for(self, pattern, timeout_s=PATIENCE_S):
        """Return the match of a pattern, and forget all text up to its end."""
        deadline = time.monotonic() + timeout_s
        while not (match := re.search(pattern, self.text)):
            self.stream.socket.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                message = self.stream.receive()
            except TimeoutError:
                raise AssertionError(f"no `{pattern}` on the console:\n{self.text}") from None
            assert message and message[0] != TEXT, f"the domain ended: {message}\n{self.text}"
            self.text += message[1].decode(errors="replace").replace("\r", "")
        self.text = self.text[match.end() :]
        return match

    def check(self, command, timeout_s=PATIENCE_S):
        """Run a command in the guest's shell and return its output; it must succeed."""
        self.stream.send(f"{command}; code=$?; echo; echo status:$code:\n".encode())
        match = self.wait_for(r"(?s)^(.*?)\nstatus:(\d+):", timeout_s)
        assert match[2] == "0", match[1]
        return match[1]

    def close(self):
        self.stream.close()
