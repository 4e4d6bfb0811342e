"""Build-time registries: decorators fill the tables that `hypercall`, `domctl` and `sysctl`
dispatch by.

Nothing is listed twice: a handler names its operation where it is defined, and the tables are made
from these dictionaries, after all imports.
"""

from kpy import build_time

hypercalls = {}
domctls = {}
domctls_with_result = set()
sysctls = {}
idle_work = {}


@build_time
def register(table, what, number):
    """Return a decorator that enters a function in `table` under `number`; two for one number is a
    build error.
    """

    def decorate(function):
        if number in table:
            raise ValueError(f"{what} {number} has two handlers, {table[number]} and {function}")
        table[number] = function
        return function

    return decorate


@build_time
def hypercall(number):
    """Register the handler of hypercall `number`, an `abi.__HYPERVISOR_*` constant."""
    return register(hypercalls, "hypercall", number)


@build_time
def domctl(number, result=False):
    """Register the handler of `abi.XEN_DOMCTL_*`; with `result` the caller's structure is written
    back.
    """
    if result:
        domctls_with_result.add(number)
    return register(domctls, "domctl", number)


@build_time
def sysctl(number):
    """Register the handler of `abi.XEN_SYSCTL_*`."""
    return register(sysctls, "sysctl", number)


@build_time
def idle(function):
    """Register what a processor that has nothing to run does before it sleeps."""
    return register(idle_work, "idle work", 0)(function)
