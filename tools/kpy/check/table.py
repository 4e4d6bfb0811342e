"""Tables of functions by kind: of the checks by syntax node, of the lowerings by typed node."""


class Table(dict):
    """`@table.of(kind)` enters a function under one or more keys."""

    def of(self, *kinds):
        def enter(function):
            self.update(dict.fromkeys(kinds, function))
            return function

        return enter
