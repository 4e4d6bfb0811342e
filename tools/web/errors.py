"""What a server answers to a request that it cannot serve."""

REASONS = {
    100: "Continue",
    101: "Switching Protocols",
    200: "OK",
    201: "Created",
    202: "Accepted",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Request Entity Too Large",
    426: "Upgrade Required",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    505: "HTTP Version Not Supported",
}


def reason_of(status):
    """Return the words that go with a status."""
    return REASONS.get(status, "Unknown")


class HttpError(Exception):
    """A refusal by its status; `detail` is for people, `headers` go into the answer."""

    def __init__(self, status, detail="", headers=None):
        super().__init__(detail or reason_of(status))
        self.status, self.detail, self.headers = status, detail, headers or {}
        self.reason = reason_of(status)
