"""Build-time registries: decorators fill the tables that hypercalls and their operations are
dispatched by, and put before each handler what gets its arguments ready.

Nothing is listed twice: a handler names its number where it is defined, and its annotations say
what it takes. The adapters here are compiled with the handler inlined into them, so a table's entry
leads straight to the work. The tables are made from these dictionaries after all imports.
"""

import abi
from kpy import (
    Guest,
    Ptr,
    Tainted,
    build_time,
    cast,
    i64,
    inline,
    ok,
    ref,
    require,
    stands_before,
    truncate,
    u64,
    uninitialized,
)

from kernel.base.guest_memory import copy_from_guest, copy_to_guest

WORD = Tainted[u64]
VCPU = Ptr["kernel.state.vcpu.Vcpu"]
DOMAIN = Ptr["kernel.state.domain.Domain"]

hypercalls = {}
domctls = {}
domctls_with_result = set()
sysctls = {}
idle_work = {}


@build_time
def register(table, what, number, prepare=lambda function: function):
    """Return a decorator that enters what `prepare` makes of a function in `table` under `number`;
    two for one number is a build error.
    """

    def decorate(function):
        if number in table:
            raise ValueError(f"{what} {number} has two handlers, {table[number]} and {function}")
        table[number] = prepare(function)
        return function

    return decorate


@build_time
def parameter_types(function):
    """Return the types of a function's parameters, in order."""
    return [type_ for name, type_ in function.__annotations__.items() if name != "return"]


@build_time
def is_vcpu(type_):
    """Tell a `Ptr[Vcpu]`, whose module this one, at the bottom of all, cannot import."""
    return str(type_).endswith(("[Vcpu]", ".Vcpu]"))


@build_time
def is_copied(types):
    """Tell whether the last of a handler's parameters is a structure."""
    return bool(types) and not is_vcpu(types[-1]) and hasattr(types[-1], "nullable")


@build_time
def structure_of(pointer):
    """Return the structure that a handler takes by such a `Ptr`.

    It must be `Tainted`: the guest gives it.
    """
    struct = pointer.target
    if struct.tainted() is not struct:
        raise TypeError(f"a guest gives a handler's structure: it is a `Tainted[{struct}]`")
    return struct


@build_time
def argument_as(type_):
    """Return the function that makes a parameter of this type of an argument register.

    A number must be `Tainted`: the guest gives it.
    """
    is_number = hasattr(type_, "bits")
    if is_number and type_.untainted() is type_:
        raise TypeError(f"a guest gives a handler's numbers: they are `Tainted[{type_}]`")

    @inline
    def as_address(word: Tainted[u64]) -> type_:
        return type_(word)

    @inline
    def low_bits(word: Tainted[u64]) -> type_:
        return truncate(type_, word)

    return low_bits if is_number else as_address


@build_time
def hypercall(number):
    """Register the handler of hypercall `number`, an `abi.__HYPERVISOR_*` constant.

    It takes the calling vCPU and as many of the five argument registers as it has arguments, each
    as its annotation says: the low bits for a small integer, an address for a `Guest[T]`.
    """
    return register(hypercalls, "hypercall", number, takes_registers)


@build_time
def takes_registers(handler):
    """Return the entry of the hypercall table for a handler."""
    vcpu_type, *types = parameter_types(handler)
    take = [argument_as(type_) for type_ in types]
    nr = len(types)

    @stands_before(handler)
    def entry(vcpu: vcpu_type, a: WORD, b: WORD, c: WORD, d: WORD, e: WORD) -> i64:
        return handler(vcpu, *(take[0](a), take[1](b), take[2](c), take[3](d), take[4](e))[:nr])

    return entry


@build_time
def operations(what):
    """Return the decorator of the operations of a hypercall that takes a number and the address of
    a structure, and the table that it fills with entries `entry(vcpu, arg) -> i64`.

    A handler takes the calling vCPU, or does not, and the structure: as `Ptr[T]` to the core's own
    copy, which with `result` goes back to the guest after a success; or as the argument itself, an
    address `Guest[T]` or a number; or not at all.
    """
    table = {}

    def operation(number, result=False):
        return register(table, what, number, lambda handler: entry_of(handler, result))

    return operation, table


@build_time
def entry_of(handler, result):
    """Return the entry of an operation's handler."""
    types = parameter_types(handler)
    if is_copied(types):
        return takes_copy(handler, types, result)
    return takes_argument(handler, types)


@build_time
def takes_argument(handler, types):
    """Return the entry for a handler that takes the argument as it is, or none."""
    first = 0 if types and is_vcpu(types[0]) else 1
    last = 2 if types and not is_vcpu(types[-1]) else 1
    take = argument_as(types[-1]) if last == 2 else None

    @stands_before(handler)
    def entry(vcpu: VCPU, arg: Tainted[u64]) -> i64:
        return handler(*(vcpu, take(arg))[first:last])

    return entry


@build_time
def takes_copy(handler, types, result):
    """Return the entry for a handler that takes a copy of the guest's structure."""
    first, struct = len(types) == 1, structure_of(types[-1])

    @stands_before(handler)
    def entry(vcpu: VCPU, arg: Tainted[u64]) -> i64:
        op = uninitialized(struct)
        require(copy_from_guest(ref(op), Guest[struct](arg)), -abi.EFAULT)
        if result:
            ok(handler(*(vcpu, ref(op))[first:]))
            require(copy_to_guest(Guest[struct](arg), ref(op)), -abi.EFAULT)
            return 0
        else:
            return handler(*(vcpu, ref(op))[first:])

    return entry


@build_time
def domctl(number, result=False):
    """Register the handler of `abi.XEN_DOMCTL_*`; with `result` the caller's structure is written
    back.

    It takes the calling vCPU, the domain and the structure, or those of them that it needs, which
    stand beside each other. The structure is the operation's part of `abi.xen_domctl`, or all.
    """
    if result:
        domctls_with_result.add(number)
    return register(domctls, "domctl", number, takes_domain)


@build_time
def takes_domain(handler):
    """Return the entry of the table of domctls for a handler."""
    types = parameter_types(handler)
    has_part = not str(types[-1]).endswith(("Vcpu]", "Domain]"))
    first = 0 if is_vcpu(types[0]) else 2 if has_part and len(types) == 1 else 1
    part = part_of(Tainted[abi.xen_domctl], structure_of(types[-1])) if has_part else None

    @stands_before(handler)
    def entry(caller: VCPU, d: DOMAIN, op: Ptr[Tainted[abi.xen_domctl]]) -> i64:
        return handler(*(caller, d, part(op))[first : first + len(types)])

    return entry


@build_time
def sysctl(number):
    """Register the handler of `abi.XEN_SYSCTL_*`: it takes its part of `abi.xen_sysctl`."""
    return register(sysctls, "sysctl", number, takes_machine)


@build_time
def takes_machine(handler):
    """Return the entry of the table of sysctls for a handler."""
    part = part_of(Tainted[abi.xen_sysctl], structure_of(parameter_types(handler)[0]))

    @stands_before(handler)
    def entry(op: Ptr[Tainted[abi.xen_sysctl]]) -> i64:
        return handler(part(op))

    return entry


@build_time
def part_of(whole, part):
    """Return the function from a structure to that of the operation's own, in the union `u`."""

    @inline
    def member(op: Ptr[whole]) -> Ptr[part]:
        return cast(part, ref(op.u))

    @inline
    def all_of_it(op: Ptr[whole]) -> Ptr[part]:
        return op

    if part is whole:
        return all_of_it
    if part not in [field.type for field in whole.fields["u"].type.fields.values()]:
        raise TypeError(f"`{part}` is no part of `{whole}`")
    return member


@build_time
def idle(function):
    """Register what a processor that has nothing to run does before it sleeps."""
    return register(idle_work, "idle work", 0)(function)
