"""What guests do on purpose: short sequences of actions that are nearly right, so that programs get
far. Each habit takes a drawer and an actor, and returns actions.
"""

import abi

from tests.fuzz.program import CALL, READ, REGISTER, TIME, TRAP, WRITE, action
from tests.fuzz.values import FLUSHES, GOOD_FLAGS, NR_PAGES, SLOTS
from tests.fuzz.world import GRANT_PAGE, MAPPED_PAGE, SHARED_PAGE
from tests.model.guest import BASE, PAGE, STACK_PAGE, make

PAGE_FAULT, GENERAL_PROTECTION, INVALID_OPCODE, NO_DEVICE = 14, 13, 6, 7
PLAIN_VECTORS = [0, 1, 3, 4, 5, 6, 7, 16, 19]
CODE_AT, STACK_END = BASE + STACK_PAGE * PAGE, BASE + (STACK_PAGE + 1) * PAGE
RAX, RCX, RDX, RBX, RDI, RIP, RSP = 10, 11, 12, 5, 14, 15, 16
MS = 1_000_000
INSTRUCTIONS = [
    *("488907", "8907", "668907", "8807", "48c70701000000", "480fb10f", "488b07", "0fc70f"),
    *("e460", "e670", "ed", "ef", "6c", "6e", "f36c", "0fa2", "0f0b78656e0fa2", "0f32", "0f30"),
    *("0f20c0", "0f22c0", "0f20d8", "0f22d8", "0f20e0", "0f22e0", "0f06", "0f08", "0f09", "f4"),
    *("fa", "fb", "0f31", "0f01f9", "0f01d0", "0f01d1", "0f21c0", "0f23f8", "cd80", "cc", "0f34"),
    *("f3aa", "2e0f01d0", "66ed", "0f0138", "9d", "cf", "0f05"),
]
MAPPINGS = [
    abi.GNTMAP_host_map,
    abi.GNTMAP_host_map | abi.GNTMAP_readonly,
    abi.GNTMAP_host_map | abi.GNTMAP_device_map,
    abi.GNTMAP_device_map,
    abi.GNTMAP_device_map | abi.GNTMAP_readonly,
    abi.GNTMAP_host_map | abi.GNTMAP_contains_pte,
    abi.GNTMAP_host_map | abi.GNTMAP_contains_pte | abi.GNTMAP_readonly,
    abi.GNTMAP_host_map | abi.GNTMAP_application_map,
]
GRANTS = [abi.GTF_permit_access, abi.GTF_permit_access | abi.GTF_readonly, 0]
ENDS = [abi.MMUEXT_UNPIN_TABLE, abi.MMUEXT_NEW_BASEPTR, abi.MMUEXT_NEW_USER_BASEPTR]
OTHERS = [
    *(abi.MMUEXT_TLB_FLUSH_LOCAL, abi.MMUEXT_TLB_FLUSH_ALL, abi.MMUEXT_INVLPG_LOCAL),
    *(abi.MMUEXT_INVLPG_ALL, abi.MMUEXT_CLEAR_PAGE, abi.MMUEXT_COPY_PAGE, abi.MMUEXT_SET_LDT),
    *(abi.MMUEXT_TLB_FLUSH_MULTI, abi.MMUEXT_INVLPG_MULTI, abi.MMUEXT_FLUSH_CACHE),
]


def call(draw, actor, name, *args, data=b"", choices=None):
    """Make a hypercall whose data lie where arguments do."""
    number = getattr(abi, f"__HYPERVISOR_{name}")
    late = draw.choices() if choices is None else choices
    return action(CALL, actor, number, args, data, draw.home(actor), late)


def packed(*words):
    return b"".join((word & (1 << 64) - 1).to_bytes(8, "little") for word in words)


def with_structure(draw, actor, name, command, type_, *rest, **fields):
    """Make a hypercall with a command and a structure."""
    return call(
        draw, actor, name, command, draw.home(actor), *rest, data=bytes(make(type_, **fields))
    )


def map_page(draw, actor):
    """Map something at a data page; or its usual frame with other rights."""
    page, guest = draw.page_number(), draw.guest(actor)
    if draw.chance(15):
        page = draw.pick((40, 41, 42, 43, 44))
    value = draw.entry(actor)
    if draw.chance(60) and page < NR_PAGES:
        value = guest.pages[page] << 12 | draw.pick(GOOD_FLAGS)
    return [call(draw, actor, "update_va_mapping", BASE + page * PAGE, value, draw.pick(FLUSHES))]


def update_tables(draw, actor):
    """Change entries of tables."""
    count = 1 + draw.below(3)
    requests = [w for _ in range(count) for w in (draw.slot(actor), draw.entry(actor))]
    foreign = abi.DOMID_SELF if draw.chance(90) else draw.domid()
    data = packed(*requests)
    return [call(draw, actor, "mmu_update", draw.home(actor), count, 0, foreign, data=data)]


def link_tables(draw, actor):
    """Let an entry of an upper table lead to a data page's frame."""
    level, guest = 2 + draw.below(3), draw.guest(actor)
    above = guest.pages[4 - level] if draw.chance(60) else guest.pages[draw.page_number()]
    below = guest.pages[draw.page_number()] if draw.chance(80) else guest.pages[5 - level]
    slot = above << 12 | draw.pick(SLOTS[level]) * 8
    value = below << 12 | draw.pick(GOOD_FLAGS) if draw.chance(80) else 0
    data = packed(slot, value)
    return [call(draw, actor, "mmu_update", draw.home(actor), 1, 0, abi.DOMID_SELF, data=data)]


def make_table(draw, actor):
    """Write entries into a data page, protect it, and pin it as a table."""
    guest, page, level = draw.guest(actor), draw.page_number(), 1 + draw.below(4)
    address, actions = BASE + page * PAGE, []
    if draw.chance(80):
        for _ in range(draw.below(4)):
            slot = draw.pick(SLOTS[level]) * 8
            below = guest.pages[draw.pick((5 - level, draw.page_number()))] if level > 1 else 0
            value = below << 12 | 7 if level > 1 and draw.chance(80) else draw.entry(actor)
            actions.append(action(WRITE, actor, data=packed(value), at=address + slot))
    if level == 4 and draw.chance(80):
        value = packed(guest.pages[1] << 12 | 7)
        actions.append(action(WRITE, actor, data=value, at=address + 511 * 8))
    entry = guest.pages[page] << 12 | 5
    if draw.chance(90):
        flush = draw.pick(FLUSHES)
        actions.append(call(draw, actor, "update_va_mapping", address, entry, flush))
    return [*actions, pin(draw, actor, level, guest.pages[page])]


def pin(draw, actor, level, mfn):
    data = packed(abi.MMUEXT_PIN_L1_TABLE + level - 1, mfn, 0)
    return call(draw, actor, "mmuext_op", draw.home(actor), 1, 0, abi.DOMID_SELF, data=data)


def act_on_table(draw, actor):
    """Pin, unpin or load a frame, or use it otherwise."""
    mfn, count, data = draw.frame(actor), 1 + draw.below(3), b""
    for _ in range(count):
        command = draw.pick(OTHERS) if draw.chance(40) else draw.pick(ENDS)
        if draw.chance(20):
            command = abi.MMUEXT_PIN_L1_TABLE + draw.below(4)
        is_address = command in (abi.MMUEXT_INVLPG_LOCAL, abi.MMUEXT_SET_LDT)
        first = draw.data_address() if is_address else mfn
        data += packed(command, first, draw.pick((0, 1, 8192, draw.frame(actor), draw.home(actor))))
        mfn = draw.guest(actor).pages[draw.page_number()] if draw.chance(70) else 0
    return [call(draw, actor, "mmuext_op", draw.home(actor), count, 0, abi.DOMID_SELF, data=data)]


def use_ldt(draw, actor):
    """Set an LDT of a read-only page, and let the processor look into it."""
    guest, page = draw.guest(actor), draw.page_number()
    address = BASE + page * PAGE
    entry = guest.pages[page] << 12 | 5
    data = packed(abi.MMUEXT_SET_LDT, address, draw.pick((1, 2, 512, 8192)))
    return [
        call(draw, actor, "update_va_mapping", address, entry, draw.pick(FLUSHES)),
        call(draw, actor, "mmuext_op", draw.home(actor), 1, 0, abi.DOMID_SELF, data=data),
        fault(actor, PAGE_FAULT, 0, 0xFFFF820000000000 + (16 + draw.below(3)) * PAGE),
    ]


def use_gdt(draw, actor):
    """Set a GDT, and change a descriptor in it."""
    guest, page = draw.guest(actor), draw.page_number()
    entry = guest.pages[page] << 12 | 5
    flush = draw.pick(FLUSHES)
    count = draw.pick((0, 1, 512, 513, 7168, 7169))
    descriptor = draw.pick((0, 0x00CFF3000000FFFF, 0x00AFFB000000FFFF, 0x00008200000000FF))
    where = guest.pages[page] << 12 | 8 * draw.below(512)
    return [
        call(draw, actor, "update_va_mapping", BASE + page * PAGE, entry, flush),
        call(
            draw, actor, "set_gdt", draw.home(actor), count, data=packed(*[guest.pages[page]] * 2)
        ),
        call(draw, actor, "update_descriptor", where, descriptor ^ 1 << draw.below(64)),
    ][draw.below(2) :]


def offer(draw, actor):
    """Write an entry of the own grant table."""
    mfn = draw.frame(actor) if draw.chance(30) else draw.guest(actor).pages[draw.page_number()]
    word = draw.pick(GRANTS) | draw.pick(draw.ids) << 16 | (mfn & 0xFFFFFFFF) << 32
    if draw.chance(20):
        word ^= 1 << draw.below(64)
    at = GRANT_PAGE + 8 * draw.below(9)
    return [action(WRITE, actor, data=packed(word), at=at)]


def map_grants(draw, actor):
    """Map what others offer."""
    count, data = 1 + draw.below(3), b""
    for _ in range(count):
        flags, address = draw.pick(MAPPINGS), draw.data_address()
        if flags & abi.GNTMAP_contains_pte:
            address = draw.guest(actor).pages[3] << 12 | 8 * draw.page_number()
        fields = {"host_addr": address, "flags": flags, "ref": draw.reference() & 0xFFFFFFFF}
        fields["dom"] = draw.domid()
        data += bytes(make(abi.gnttab_map_grant_ref, **fields))
    operation = abi.GNTTABOP_map_grant_ref
    return [call(draw, actor, "grant_table_op", operation, draw.home(actor), count, data=data)]


def unmap_grants(draw, actor):
    """Unmap, with a good handle and perhaps another address."""
    count, data = 1 + draw.below(3), b""
    replaces = draw.chance(25)
    for _ in range(count):
        where = draw.data_address() if draw.chance(60) else MAPPED_PAGE + draw.below(3) * PAGE
        fields = {"host_addr": where, "handle": draw.handle() & 0xFFFFFFFF}
        if replaces:
            fields["new_addr"] = draw.pick((0, draw.data_address()))
            data += bytes(make(abi.gnttab_unmap_and_replace, **fields))
        else:
            bus = draw.pick((0, 0, draw.frame(actor) << 12 & (1 << 64) - 1))
            data += bytes(make(abi.gnttab_unmap_grant_ref, **fields, dev_bus_addr=bus))
    operation = abi.GNTTABOP_unmap_and_replace if replaces else abi.GNTTABOP_unmap_grant_ref
    return [call(draw, actor, "grant_table_op", operation, draw.home(actor), count, data=data)]


def map_and_unmap(draw, actor):
    """Map a grant, use it, and unmap it at the same place."""
    flags, address = draw.pick(MAPPINGS[:2]), draw.data_address()
    fields = {"host_addr": address, "flags": flags, "ref": 1 + draw.below(6)}
    fields["dom"] = draw.pick(draw.ids)
    mapping = with_structure(
        draw, actor, "grant_table_op", abi.GNTTABOP_map_grant_ref, abi.gnttab_map_grant_ref, 1,
        **fields,
    )  # fmt: skip
    unmap = abi.GNTTABOP_unmap_grant_ref
    fields = {"host_addr": address, "handle": draw.below(3)}
    return [
        call(draw, actor, "update_va_mapping", address, 0, draw.pick(FLUSHES)),
        mapping,
        *touch(draw, actor, address),
        with_structure(
            draw, actor, "grant_table_op", unmap, abi.gnttab_unmap_grant_ref, 1, **fields
        ),
    ]


def copy_grants(draw, actor):
    """Copy between own frames and others' grants."""
    count, data = 1 + draw.below(3), b""
    for _ in range(count):
        ends, flags = [], 0
        for bit in (abi.GNTCOPY_source_gref, abi.GNTCOPY_dest_gref):
            end = {"offset": draw.pick((0, 8, 96, 4000))}
            if draw.chance(50):
                flags |= bit
                end |= {"domid": draw.pick(draw.ids), "u": {"ref": draw.below(8)}}
            else:
                end |= {"domid": abi.DOMID_SELF, "u": {"gmfn": draw.frame(actor)}}
            ends.append(end)
        length = draw.pick((0, 8, 96, 4096))
        fields = {"source": ends[0], "dest": ends[1], "flags": flags, "len": length}
        data += bytes(make(abi.gnttab_copy, **fields))
    return [
        call(draw, actor, "grant_table_op", abi.GNTTABOP_copy, draw.home(actor), count, data=data)
    ]


def use_events(draw, actor):
    """Open, bind, ring and close channels."""
    name, fields = draw.pick(
        [
            ("alloc_unbound", {"dom": abi.DOMID_SELF, "remote_dom": draw.pick(draw.ids)}),
            ("bind_interdomain", {"remote_dom": draw.pick(draw.ids), "remote_port": draw.below(9)}),
            ("bind_virq", {"virq": draw.below(24), "vcpu": draw.below(2)}),
            ("bind_ipi", {"vcpu": draw.below(2)}),
            ("bind_vcpu", {"port": draw.below(9), "vcpu": draw.below(2)}),
            ("send", {"port": draw.below(9)}),
            ("unmask", {"port": draw.below(9)}),
            ("close", {"port": draw.below(9)}),
            ("status", {"dom": abi.DOMID_SELF, "port": draw.below(9)}),
            ("reset", {"dom": abi.DOMID_SELF}),
        ]
    )
    command, type_ = getattr(abi, f"EVTCHNOP_{name}"), getattr(abi, f"evtchn_{name}")
    return [with_structure(draw, actor, "event_channel_op", command, type_, **fields)]


def change_shared_info(draw, actor):
    """Write what the core reads: pending and mask bits, upcall flags, anything."""
    at = SHARED_PAGE + 8 * (draw.below(8) if draw.chance(50) else draw.below(512))
    value = draw.number() if draw.chance(50) else draw.pick((0, 1, 1 << 8, (1 << 64) - 1))
    return [action(WRITE, actor, data=packed(value), at=at)]


def reserve(draw, actor):
    """Give frames up, and get some."""
    guest, count = draw.guest(actor), 1 + draw.below(4)
    page, actions = draw.page_number(), []
    command = draw.pick(
        (
            abi.XENMEM_decrease_reservation,
            abi.XENMEM_decrease_reservation,
            abi.XENMEM_populate_physmap,
            abi.XENMEM_increase_reservation,
        )
    )
    if command == abi.XENMEM_decrease_reservation and draw.chance(60):
        address = BASE + page * PAGE
        actions = [call(draw, actor, "update_va_mapping", address, 0, draw.pick(FLUSHES))]
    fields = {"extent_start": draw.home(actor) + 64, "nr_extents": count, "domid": abi.DOMID_SELF}
    fields["extent_order"] = draw.pick((0, 0, 0, 1, 2))
    listed = [guest.pages[page], *(draw.frame(actor) for _ in range(count - 1))]
    request = bytes(make(abi.xen_memory_reservation, **fields)).ljust(64, b"\0")
    data = request + packed(*listed)
    return [*actions, call(draw, actor, "memory_op", command, draw.home(actor), data=data)]


def exchange(draw, actor):
    """Exchange unmapped frames."""
    guest, page = draw.guest(actor), draw.page_number()
    orders = draw.pick(((0, 0), (0, 1), (1, 0)))
    counts = [2 if orders == (0, 1) else 1, 2 if orders == (1, 0) else 1]
    listed = [guest.pages[min(page + i, len(guest.pages) - 1)] for i in range(counts[0])]
    ends = {}
    for name, at, order, count in zip(("in_", "out"), (128, 192), orders, counts, strict=True):
        ends[name] = {
            "extent_start": draw.home(actor) + at,
            "nr_extents": count,
            "extent_order": order,
        }
        ends[name]["domid"] = abi.DOMID_SELF
    data = bytes(make(abi.xen_memory_exchange, **ends)).ljust(128, b"\0")
    data += packed(*listed).ljust(64, b"\0") + packed(*[page] * counts[1])
    actions = []
    if draw.chance(80):
        flush = draw.pick(FLUSHES)
        for i in range(counts[0]):
            address = BASE + (page + i) * PAGE
            actions.append(call(draw, actor, "update_va_mapping", address, 0, flush))
    return [
        *actions,
        call(draw, actor, "memory_op", abi.XENMEM_exchange, draw.home(actor), data=data),
    ]


def touch(draw, actor, address=0):
    """Read or write memory, so that the TLB knows it."""
    address = address or draw.data_address()
    address += draw.below(512) * 8
    if draw.chance(50):
        return [action(READ, actor, args=[address])]
    return [action(WRITE, actor, data=packed(draw.number()), at=address)]


def fault(actor, vector, error_code, address=0):
    return action(TRAP, actor, vector, [error_code, address])


def execute(draw, actor):
    """Execute an instruction that the core emulates, or refuses."""
    code = bytes.fromhex(draw.pick(INSTRUCTIONS)).ljust(16, b"\x90")
    at = CODE_AT + (PAGE - 16 if draw.chance(10) else 0)
    actions = [action(WRITE, actor, data=code, at=at), action(REGISTER, actor, RIP, [at])]
    target = BASE + 3 * PAGE + 8 * draw.pick(SLOTS[1])
    for register in draw.pick(((), (RAX,), (RAX, RCX), (RDX,), (RAX, RBX, RCX, RDX))):
        value = draw.entry(actor) if draw.chance(50) else draw.number()
        actions.append(action(REGISTER, actor, register, [value]))
    actions.append(action(REGISTER, actor, RDI, [target if draw.chance(80) else draw.address()]))
    if draw.chance(40):
        return [*actions, fault(actor, PAGE_FAULT, 7, target)]
    vector = draw.pick((GENERAL_PROTECTION, GENERAL_PROTECTION, INVALID_OPCODE, NO_DEVICE))
    code = draw.pick((0, 0, 0, 0x80 * 8 | 2, draw.below(256) << 3 | 2, 0xE008))
    return [*actions, fault(actor, vector, code if vector == GENERAL_PROTECTION else 0)]


def raise_exception(draw, actor):
    """Raise an exception for no reason that the core knows."""
    if draw.chance(50):
        return [fault(actor, PAGE_FAULT, 4 | draw.below(4) | 16 * draw.below(2), draw.address())]
    return [fault(actor, draw.pick(PLAIN_VECTORS), 0)]


def return_from_exception(draw, actor):
    """Make an iret of a frame on the own stack."""
    frame = {"rax": 1, "r11": 2, "rcx": 3, "flags": draw.pick((0, 0, 1 << 8))}
    frame |= {"rip": 0x401000, "cs": abi.FLAT_KERNEL_CS, "rflags": 0x202, "rsp": STACK_END}
    frame |= {"ss": abi.FLAT_KERNEL_SS}
    if draw.chance(50):
        frame[draw.pick([*frame])] = draw.number()
    if draw.chance(30):
        frame |= {"cs": abi.FLAT_USER_CS, "ss": abi.FLAT_USER_SS}
    data = bytes(make(abi.iret_context, **frame))
    at = STACK_END - len(data)
    return [
        action(REGISTER, actor, RSP, [at]),
        action(CALL, actor, abi.__dict__["__HYPERVISOR_iret"], (), data, at),
    ]


def wait(draw, actor):
    """Let time pass."""
    return [action(TIME, actor, args=[draw.pick((1, MS, 11 * MS, 40 * MS, 1100 * MS))])]


def start_vcpu(draw, actor):
    """Stop, start or ask for a vCPU."""
    name = draw.pick(("up", "down", "is_up", "send_nmi", "stop_periodic_timer"))
    number = getattr(abi, f"VCPUOP_{name}")
    return [call(draw, actor, "vcpu_op", number, draw.below(3), 0)]


def control(draw, _):
    """Do what domain 0's toolstack may do at any time to a guest."""
    op = {"domain": draw.pick(draw.ids[1:]), "interface_version": abi.XEN_DOMCTL_INTERFACE_VERSION}
    op |= draw.pick(
        [
            {"cmd": abi.XEN_DOMCTL_pausedomain},
            {"cmd": abi.XEN_DOMCTL_unpausedomain},
            {"cmd": abi.XEN_DOMCTL_unpausedomain},
            {"cmd": abi.XEN_DOMCTL_getdomaininfo},
            {"cmd": abi.XEN_DOMCTL_max_mem, "u": {"max_mem": {"max_memkb": 4 * draw.below(40)}}},
            {"cmd": abi.XEN_DOMCTL_destroydomain},
            {"cmd": abi.XEN_DOMCTL_resumedomain},
        ]
    )
    return [call(draw, 0, "domctl", draw.home(0), data=bytes(make(abi.xen_domctl, **op)))]


HABITS = [
    *(map_page, map_page, update_tables, update_tables, link_tables, link_tables, make_table),
    *(make_table, act_on_table, act_on_table, use_ldt, use_gdt, offer, offer, map_grants),
    *(map_grants, unmap_grants, unmap_grants, map_and_unmap, copy_grants, copy_grants, use_events),
    *(use_events, change_shared_info, reserve, reserve, exchange, touch, touch, execute, execute),
    *(raise_exception, return_from_exception, wait, start_vcpu),
]
# What a well-meaning domain 0 does meanwhile.
GOOD_HABITS = [*[map_and_unmap] * 4, *[unmap_grants, offer, offer, use_events, wait] * 2, control]
