"""Build-time tables of rows: a decorator names what a function measures."""

from kpy import build_time

from libos.bench.measure import nothing


class Rows(list):
    """The rows of one file in order: the initial value of a static `Array[Row, N]`."""

    @build_time
    def row(self, name, undo=nothing):
        """Measure the decorated function under `name`; `undo` makes it possible to do it again."""

        def register(function):
            self.append({"name": name.encode(), "operation": function, "undo": undo})
            return function

        return register
