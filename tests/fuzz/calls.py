"""Hypercalls as the ABI describes them: any of those that the core has registered, with structures
whose fields are drawn by what they are.
"""

import re

import abi
from kpy.front.structs import StructType, size_of
from kpy.front.types import ArrayType, GuestType, VolatileType

import kernel.handlers  # noqa: F401  it fills the registries
from kernel.base.registry import domctls, hypercalls, sysctls
from tests.fuzz.program import CALL, action
from tests.fuzz.values import FLUSHES, MASK

# What a field or argument means, by its name; the first that fits. The rest is any number.
HINTS = [
    (r"^(dom|domid|domain|domain_id|remote_dom|remote_domain|.*domid)$", "domid"),
    (r"port$|evtchn", "port"),
    (r"^(ref|ref_a|ref_b|gref|.*gref)$", "reference"),
    (r"^handle$", "handle"),
    (r"^(mfn|gmfn|gpfn|idx|.*_mfn|.*_gmfn|.*frame|pfn|.*gpfns?)$", "frame"),
    (r"vcpu", "vcpu"),
    (r"^(host_addr|new_addr|linear_addr|address|bufptr|va|.*eip|rip|rsp)$", "address"),
    (r"^(nr_.*|count|num|len|size|offset|.*order|.*_ents|.*_bits|length|entries)$", "count"),
    (r"flags|^op$|mode|control|cmd", "flags"),
    (r"time|_ns$|period", "time"),
]
SPECIAL = {
    ("mmu_update", "ptr"): "slot",
    ("mmu_update", "val"): "entry",
    ("mmuext_op", "cmd"): "small",
    ("evtchn_bind_virq", "virq"): "small",
    ("xen_memory_reservation", "nr_extents"): "few",
    ("xen_memory_reservation", "extent_order"): "order",
    ("xen_memory_reservation", "domid"): "self",
    ("gnttab_copy", "len"): "length",
    ("gnttab_copy_ptr", "offset"): "length",
    ("sched_poll", "nr_ports"): "few",
}
# The arguments of each hypercall: a hint, `list:STRUCT`, or `op:` and the prefixes of its commands
# and of their structures.
ARGUMENTS = {
    "mmu_update": ["list:mmu_update", "listed", "done", "foreign"],
    "mmuext_op": ["list:mmuext_op", "listed", "done", "self"],
    "update_va_mapping": ["address", "entry", "flush"],
    "update_va_mapping_otherdomain": ["address", "entry", "flush", "domid"],
    "set_gdt": ["list:frame", "count"],
    "update_descriptor": ["slot", "number"],
    "set_trap_table": ["list:trap_info"],
    "set_callbacks": ["address", "address", "address"],
    "callback_op": ["op:CALLBACKOP_:callback_"],
    "stack_switch": ["flags", "address"],
    "fpu_taskswitch": ["small"],
    "set_debugreg": ["small", "number"],
    "get_debugreg": ["small"],
    "set_segment_base": ["small", "address"],
    "multicall": ["calls", "listed"],
    "set_timer_op": ["time"],
    "vm_assist": ["small", "small"],
    "xen_version": ["op:XENVER_:xen_"],
    "console_io": ["small", "count", "address"],
    "grant_table_op": ["op:GNTTABOP_:gnttab_", "listed"],
    "event_channel_op": ["op:EVTCHNOP_:evtchn_"],
    "event_channel_op_compat": ["list:evtchn_op"],
    "sched_op": ["op:SCHEDOP_:sched_"],
    "sched_op_compat": ["small", "address"],
    "physdev_op": ["op:PHYSDEVOP_:physdev_"],
    "memory_op": ["op:XENMEM_:xen_"],
    "vcpu_op": ["vcpu_op"],
    "nmi_op": ["op:XENNMI_:xennmi_"],
    "domctl": ["control:xen_domctl"],
    "sysctl": ["control:xen_sysctl"],
    "platform_op": ["control:xen_platform_op"],
}
# Commands whose structure is not named as they are.
STRUCTURES = {
    "increase_reservation": "xen_memory_reservation",
    "decrease_reservation": "xen_memory_reservation",
    "populate_physmap": "xen_memory_reservation",
    "claim_pages": "xen_memory_reservation",
    "exchange": "xen_memory_exchange",
    "current_reservation": "xen_memory_domain",
    "maximum_reservation": "xen_memory_domain",
    "maximum_gpfn": "xen_memory_domain",
    "acquire_resource": "xen_mem_acquire_resource",
    "set_memory_map": "xen_foreign_memory_map",
    "apic_read": "physdev_apic",
    "apic_write": "physdev_apic",
    "alloc_irq_vector": "physdev_irq",
    "pirq_eoi_gmfn_v1": "physdev_pirq_eoi_gmfn",
    "pirq_eoi_gmfn_v2": "physdev_pirq_eoi_gmfn",
    "initialise": "vcpu_guest_context",
    "get_runstate_info": "vcpu_runstate_info",
    "shutdown_code": "sched_shutdown",
}
NAME_OF = dict.fromkeys(hypercalls, "")
for name in dir(abi):
    if name.startswith("__HYPERVISOR_") and getattr(abi, name) in NAME_OF:
        NAME_OF[getattr(abi, name)] = name.removeprefix("__HYPERVISOR_")
UNPRIVILEGED = [n for n in hypercalls if NAME_OF[n] not in ("domctl", "sysctl", "platform_op")]
OFTEN = [
    *("mmu_update", "mmuext_op", "grant_table_op", "memory_op", "event_channel_op", "vcpu_op"),
    *("mmu_update", "grant_table_op", "memory_op", "event_channel_op"),
]
OFTEN = [getattr(abi, f"__HYPERVISOR_{name}") for name in OFTEN]
INTERFACES = {
    "xen_domctl": abi.XEN_DOMCTL_INTERFACE_VERSION,
    "xen_sysctl": abi.XEN_SYSCTL_INTERFACE_VERSION,
    "xen_platform_op": abi.XENPF_INTERFACE_VERSION,
}
PREFIXES = {"xen_domctl": "XEN_DOMCTL_", "xen_sysctl": "XEN_SYSCTL_", "xen_platform_op": "XENPF_"}
REGISTERED = {"xen_domctl": [*domctls], "xen_sysctl": [*sysctls]}


def commands_of(prefix):
    """The commands that the ABI names so: (name, number)."""
    found = [(n.removeprefix(prefix), getattr(abi, n)) for n in dir(abi) if n.startswith(prefix)]
    return [(name, number) for name, number in found if isinstance(number, int)]


def structure_of(name, prefix):
    """The structure of a command, None if no name fits."""
    for candidate in (STRUCTURES.get(name), f"{prefix}{name}"):
        found = getattr(abi, candidate or "", None)
        if isinstance(found, StructType):
            return found
    return None


def family_of(prefix):
    """All structures of a family."""
    found = [getattr(abi, name) for name in dir(abi) if name.startswith(prefix)]
    return [type_ for type_ in found if isinstance(type_, StructType)]


OPERATIONS = {
    prefixes: [(n, structure_of(name, prefixes[1])) for name, n in commands_of(prefixes[0])]
    for arguments in [*ARGUMENTS.values(), ["op:VCPUOP_:vcpu_"]]
    for prefixes in [tuple(a.split(":")[1:]) for a in arguments if a.startswith("op:")]
}
FAMILIES = {prefixes: family_of(prefixes[1]) for prefixes in OPERATIONS}


class Blob:
    """Data of a call, growing at an address of the guest's."""

    def __init__(self, base):
        self.base, self.data = base, bytearray()

    def reserve(self, size):
        """Reserve zeroed space; return its offset."""
        self.data += bytes(-len(self.data) % 8)
        offset = len(self.data)
        self.data += bytes(size)
        return offset

    def put(self, offset, size, value):
        self.data[offset : offset + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")


class Calls:
    """Makes calls for a world, by draws."""

    def __init__(self, draw):
        self.draw = draw

    def any(self, actor, numbers=UNPRIVILEGED):
        """Make any hypercall."""
        draw = self.draw
        number = draw.pick(OFTEN if draw.chance(40) else numbers)
        if draw.chance(1):
            number = draw.number()
        return self.make(actor, number)

    def make(self, actor, number):
        """Make one hypercall, as an action."""
        draw = self.draw
        blob = Blob(draw.place(64, actor))
        args = self.arguments(actor, number, blob)
        data, at = bytes(blob.data[:4096]), blob.base
        return action(CALL, actor, number, args, data, at, draw.choices())

    def arguments(self, actor, number, blob):
        """Draw the arguments of a hypercall, their structures going into the blob."""
        self.listed = 1
        args = []
        for what in ARGUMENTS.get(NAME_OF.get(number), ["number"] * 5):
            args += self.argument(actor, what, blob)
        if self.draw.chance(2):
            args[self.draw.below(len(args))] = self.draw.number()
        return args

    def argument(self, actor, what, blob):
        kind, _, rest = what.partition(":")
        if kind == "list":
            return [self.listing(actor, rest, blob)]
        if kind == "op":
            return self.operation(actor, tuple(rest.split(":")), blob)
        if kind == "control":
            return [self.control(actor, rest, blob)]
        if kind == "vcpu_op":
            command, pointer = self.operation(actor, ("VCPUOP_", "vcpu_"), blob)
            return [command, self.draw.vcpu(), pointer]
        if kind == "calls":
            return [self.calls(actor, blob)]
        if kind == "done" and self.draw.chance(40):
            start = blob.reserve(8)
            blob.put(start, 4, self.draw.number())
            return [blob.base + start]
        return [self.value(actor, kind)]

    def listing(self, actor, name, blob):
        """Put some structures, or frames; return their address."""
        self.listed = 1 + self.draw.below(3)
        if name == "frame":
            start = blob.reserve(8 * self.listed)
            for i in range(self.listed):
                blob.put(start + 8 * i, 8, self.draw.frame(actor))
            return blob.base + start
        type_ = getattr(abi, name)
        start = blob.reserve(size_of(type_) * self.listed)
        for i in range(self.listed):
            self.fill(actor, type_, start + i * size_of(type_), blob)
        return blob.base + start

    def operation(self, actor, prefixes, blob):
        """Choose a command, and put its structure; return both as arguments."""
        command, type_ = self.draw.pick(OPERATIONS[prefixes])
        if self.draw.chance(3):
            command = self.draw.number()
        if type_ is None or self.draw.chance(3):
            type_ = self.draw.pick(FAMILIES[prefixes])
        if self.draw.chance(3):
            return [command, self.draw.address()]
        return [command, self.listing(actor, type_.name, blob)]

    def control(self, actor, name, blob):
        """Put a domctl, sysctl or platform_op; return its address."""
        type_, draw = getattr(abi, name), self.draw
        commands = REGISTERED.get(name) or [n for _, n in commands_of(PREFIXES[name])]
        start = blob.reserve(size_of(type_))
        command = draw.pick(commands) if draw.chance(97) else draw.number()
        self.fill(actor, type_, start, blob)
        union = type_.fields["u"]
        shown = next((n for n, v in commands_of(PREFIXES[name]) if v == command), "")
        member = union.type.fields.get(shown) or next(
            (f for n, f in union.type.fields.items() if n in shown or shown in n and shown), None
        )
        if member and isinstance(member.type, StructType):
            self.fill(actor, member.type, start + union.offset, blob)
        blob.put(start, 4, command)
        blob.put(start + 4, 4, INTERFACES[name])
        return blob.base + start

    def calls(self, actor, blob):
        """Put the list of a multicall; return its address."""
        draw, count = self.draw, 1 + self.draw.below(5)
        size = size_of(abi.multicall_entry)
        start = blob.reserve(size * count)
        for i in range(count):
            number = draw.pick(UNPRIVILEGED)
            while NAME_OF[number] == "multicall" and not draw.chance(5):
                number = draw.pick(UNPRIVILEGED)
            args = [number, 0, *([0] if NAME_OF[number] == "multicall" else [])]
            if len(args) == 2:
                args += self.arguments(actor, number, blob)
            for j, value in enumerate(args):
                blob.put(start + i * size + 8 * j, 8, value)
        self.listed = count
        return blob.base + start

    def fill(self, actor, type_, offset, blob):
        """Draw the fields of a structure."""
        fields = list(type_.fields.items())
        if type_.is_union:
            fields = [self.draw.pick(fields)]
        for name, field in fields:
            self.field(actor, (type_.name, name), field.type, offset + field.offset, blob)

    def field(self, actor, path, type_, offset, blob):
        """Draw one field."""
        if isinstance(type_, VolatileType):
            type_ = type_.element
        if isinstance(type_, StructType):
            self.fill(actor, type_, offset, blob)
        elif isinstance(type_, ArrayType):
            for i in range(min(type_.count, 4)):
                at = offset + i * size_of(type_.element)
                self.field(actor, path, type_.element, at, blob)
        elif isinstance(type_, GuestType):
            blob.put(offset, 8, self.pointer(actor, path, type_.target, blob))
        else:
            blob.put(
                offset, size_of(type_), self.value(actor, meaning(path)) & MASK[size_of(type_)]
            )

    def pointer(self, actor, path, type_, blob):
        """Draw a pointer of a structure, and what it leads to."""
        if self.draw.chance(15) or len(blob.data) > 3000:
            return self.draw.address()
        if isinstance(type_, StructType):
            start = blob.reserve(size_of(type_))
            self.fill(actor, type_, start, blob)
            return blob.base + start
        size, count = size_of(type_), 1 + self.draw.below(4)
        start = blob.reserve(size * count)
        hint = "frame" if size == 8 else "port" if "port" in path[1] else "number"
        for i in range(count):
            blob.put(start + i * size, size, self.value(actor, hint))
        return blob.base + start

    def value(self, actor, hint):
        """Draw a number that means this."""
        draw = self.draw
        match hint:
            case "frame" | "entry" | "slot":
                return getattr(draw, hint)(actor)
            case "small":
                return draw.below(24) if draw.chance(90) else draw.number()
            case "few":
                return draw.below(5) if draw.chance(85) else draw.count()
            case "order":
                return draw.pick((0, 0, 0, 0, 1, 2, 9)) if draw.chance(90) else draw.number()
            case "length":
                return draw.pick((0, 8, 16, 96, 4000, 4095, 4096, 4097)) + draw.below(2)
            case "listed":
                return self.listed if draw.chance(75) else draw.count() | draw.pick((0, 1 << 31))
            case "self":
                return abi.DOMID_SELF if draw.chance(85) else draw.domid()
            case "foreign":
                tables = 0 if draw.chance(85) else draw.pick((*draw.ids, 0x7FEF)) + 1 << 16
                return (abi.DOMID_SELF if draw.chance(80) else draw.domid()) | tables
            case "flush":
                if draw.chance(10):
                    return draw.number()
                return draw.pick(FLUSHES) if draw.chance(85) else draw.address() | draw.below(8)
            case "done":
                return 0 if draw.chance(50) else draw.address()
            case _:
                return getattr(draw, hint)()


def meaning(path):
    """The hint for a field, by its structure's name and its own."""
    if path not in MEANINGS:
        found = (hint for pattern, hint in HINTS if re.search(pattern, path[1]))
        MEANINGS[path] = next(found, "number")
    return MEANINGS[path]


MEANINGS = dict(SPECIAL)
