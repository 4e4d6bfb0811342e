"""The one way in which xend says no."""


class Refusal(Exception):
    """A request that is not served: one sentence with what, why and what to do; `status` is HTTP's.

    Whoever raises it has changed nothing, or has undone what was changed.
    """

    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def bad_request(code, message):
    """The request itself is wrong."""
    return Refusal(400, code, message)


def not_found(code, message):
    """What the request names does not exist."""
    return Refusal(404, code, message)


def conflict(code, message):
    """The request is right, but the machine's state forbids it."""
    return Refusal(409, code, message)
