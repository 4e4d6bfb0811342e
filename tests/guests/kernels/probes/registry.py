"""Build-time lists of probes: a decorator that takes the function's name for the probe's."""

from kpy import build_time


class Probes(list):
    """The probes of one file in order."""

    @build_time
    def probe(self, function):
        """Add a function without arguments that makes a wrong request and returns the answer."""
        self.append({"name": b"probe " + function.__name__.encode(), "request": function})
        return function
