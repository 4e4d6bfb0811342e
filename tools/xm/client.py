"""Speak HTTP with xend.

xend is found by the variable PROXEN_URL; else, on the developer's machine, by the port that `make
up` wrote; else it is on this machine, at its usual port.
"""

import codecs
import hashlib
import http.client
import json
import os
import urllib.parse
from pathlib import Path

DEFAULT_URL = "http://127.0.0.1:8000"
PORT_FILE = Path(__file__).parents[2] / "build" / "run" / "current" / "port"
PREFIX = "/api/v1"
TIMEOUT_S = 900
LARGE_BYTES = 4 << 20


class XendError(Exception):
    """xend refused, or cannot be reached; the message is for the user."""


def find_url():
    """Return xend's address."""
    if url := os.environ.get("PROXEN_URL"):
        return url.rstrip("/")
    try:
        return f"http://127.0.0.1:{int(PORT_FILE.read_text())}"
    except (OSError, ValueError):
        return DEFAULT_URL


def in_dom0():
    """Say whether this is dom0, whose paths xend shares."""
    return os.path.exists("/dev/xen/privcmd")


class Client:
    """Requests to one xend. Errors of every method: XendError."""

    def __init__(self, url=None):
        self.url = url or find_url()
        parts = urllib.parse.urlsplit(self.url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80

    def request(self, method, path, body=None, headers=None):
        """Return the response of a request, its body unread."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_S)
        try:
            connection.request(method, PREFIX + path, body=body, headers=headers or {})
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self.unreachable(error) from None
        if response.status >= 400:
            raise XendError(_message(response))
        return response

    def unreachable(self, error):
        """Return the XendError for a xend that does not answer."""
        return XendError(
            f"xend does not answer at {self.url} ({error}); "
            "start a machine with 'make up', or set PROXEN_URL."
        )

    def get(self, path):
        """Return the JSON at a path."""
        return json.load(self.request("GET", path))

    def text(self, path, method="GET"):
        """Return the text at a path."""
        return self.request(method, path).read().decode(errors="replace")

    def stream(self, path):
        """Yield the text at a path piece by piece, as it comes."""
        response = self.request("GET", path)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while data := response.read1():
            yield decoder.decode(data)

    def post(self, path, value=None):
        """Post JSON and return the answer's."""
        return json.load(self._post(path, value))

    def post_for_text(self, path, value):
        """Post JSON and return the answer, which is text."""
        return self._post(path, value).read().decode(errors="replace")

    def _post(self, path, value):
        body = json.dumps(value).encode() if value is not None else None
        headers = {"Content-Type": "application/json"} if body else {}
        return self.request("POST", path, body, headers)

    def delete(self, path):
        """Delete and return the answer's JSON."""
        return json.load(self.request("DELETE", path))

    def upload(self, path, say):
        """Give xend a file, unless it has the content; returns what xend calls it."""
        with open(path, "rb") as file:
            reference = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            try:
                return self.get(f"/files/{reference}")["id"]
            except XendError:
                pass
            file.seek(0)
            size = os.path.getsize(path)
            if size > LARGE_BYTES:
                say(f"uploading {os.path.basename(path)} ({size >> 20} MiB)")
            headers = {"Content-Length": str(size)}
            return json.load(self.request("POST", "/files", file, headers))["id"]


def _message(response):
    """Return the sentence in an error's body."""
    body = response.read()
    try:
        return json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return f"xend answered {response.status} {response.reason}."


def domain_path(domain, tail=""):
    """Return the path of a domain, named by its name or id."""
    return f"/domains/{urllib.parse.quote(str(domain), safe='')}{tail}"
