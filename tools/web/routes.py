"""Which handler serves a request: by method, and by a path with {names} for its parts."""

import urllib.parse

from web.errors import HttpError


class Routes:
    """Handlers by method and path. `@routes.get("/things/{thing}")` before a coroutine function
    adds it; a handler of GET also serves HEAD.
    """

    def __init__(self):
        self.table = []  # (method, path, handler)

    def add(self, method, path, handler):
        """Add one handler."""
        self.table.append((method, path, handler))

    def _adder(self, method, path):
        def decorate(handler):
            self.add(method, path, handler)
            return handler

        return decorate

    def get(self, path):
        """Add a handler of GET."""
        return self._adder("GET", path)

    def post(self, path):
        """Add a handler of POST."""
        return self._adder("POST", path)

    def delete(self, path):
        """Add a handler of DELETE."""
        return self._adder("DELETE", path)

    def include(self, other):
        """Add all that another table has."""
        self.table += other.table

    def find(self, method, path):
        """Return (handler, what the path's names stand for).

        Args:   path: as the request has it, still with %XX.
        Errors: HttpError 404, nothing is at that path; 405, it does not take that method.
        """
        wanted = "GET" if method == "HEAD" else method
        parts = [urllib.parse.unquote(part) for part in path.split("/")]
        allowed = {}
        for known, pattern, handler in self.table:
            names = _match(pattern.split("/"), parts)
            if names is not None:
                allowed.setdefault(known, (handler, names))
        if not allowed:
            raise HttpError(404)
        if wanted not in allowed:
            raise HttpError(405, headers={"Allow": ", ".join(sorted(allowed))})
        return allowed[wanted]


def _match(pattern, parts):
    """Return {name: part}, or None where the path is another."""
    if len(pattern) != len(parts):
        return None
    names = {}
    for expected, part in zip(pattern, parts, strict=True):
        if expected.startswith("{"):
            if not part:
                return None
            names[expected[1:-1]] = part
        elif expected != part:
            return None
    return names
