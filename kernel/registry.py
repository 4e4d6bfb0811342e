"""Build-time registry of hypercall handlers: a decorator fills the table that `kernel.hypercall` dispatches by.

Nothing is listed twice: a handler names its hypercall where it is defined, and the table is this module's dictionary.
"""

from kpy import build_time

NR_HYPERCALLS = 64
handlers = {}


@build_time
def hypercall(number):
    """Register the decorated function as the handler of hypercall `number` (an `abi.__HYPERVISOR_*` constant)."""

    def register(function):
        if number in handlers:
            raise ValueError(f"hypercall {number} has two handlers, {handlers[number]} and {function}")
        handlers[number] = function
        return function

    return register
