"""Physical interrupts of domain 0: mapping, binding, masking until EOI, vectors that are never
shared.
"""

from kpy import jit

from kernel.base.ids import NR_PIRQS
from kernel.irq.irq import PIRQ_MSI
from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu
from kernel.x86.percpu import Pcpu

EINVAL, EPERM, EBUSY, ENODEV, EEXIST, ENOSPC = 22, 1, 16, 19, 17, 28
NR_GSIS = 24
ANY = None


class Machine:
    """`pirq_map` and `irq`; I/O APIC, PCI and events are records of what they are told."""

    def __init__(self):
        self.wires, self.events = {}, []
        self.program = p = jit.load(
            "kernel.irq.pirq_map",
            also=["kernel.irq.irq"],
            replace={
                "kernel.x86.percpu.this_cpu": lambda: self.cpu,
                "kernel.x86.percpu.cpu_by_id": lambda cpu: self.cpu,
                "kernel.x86.ipi.serve_mailbox": lambda: None,
                "kernel.x86.ioapic.connect_wire": lambda gsi, vector, cpu, masked: (
                    self.wires.update({gsi: vector})
                ),
                "kernel.x86.ioapic.mask_wire": self.mask_wire,
                "kernel.x86.msi.find_msi": lambda address, source: address >> 8 & 0xFF != 0xFF,
                "kernel.x86.msi.find_msix": lambda address, index, source: index < 4,
                "kernel.x86.msi.write_message": lambda source, vector, cpu: None,
                "kernel.x86.msi.mask_message": lambda source, masked: None,
                "kernel.x86.apic.apic_eoi": lambda: None,
                "kernel.evtchn.pirq.send_guest_pirq": lambda d, pirq: self.events.append(pirq),
            },
        )
        self.cpu, self.domain, self.vcpu = p.new(Pcpu), p.new(Domain), p.new(Vcpu)
        p["kernel.x86.ioapic.nr_gsis"].value = NR_GSIS

    def start_over(self):
        """Forget every pirq."""
        self.wires.clear()
        self.events.clear()
        for pirq in self.program["kernel.irq.irq.pirqs"]:
            pirq.kind, pirq.vector = 0, None
            pirq.is_bound = pirq.needs_eoi = False
        vectors = self.program["kernel.irq.irq.vector_pirqs"]
        for vector in range(len(vectors)):
            vectors[vector] = None
        for wire in self.program["kernel.x86.ioapic.wires"]:
            wire.is_level = wire.is_configured = wire.is_set_up = False

    def mask_wire(self, gsi, masked):
        self.wires[gsi] = -abs(self.wires.get(gsi, 0)) if masked else abs(self.wires[gsi])

    def call(self, name, *arguments):
        return self.program[f"kernel.{name}"](*arguments)

    def bind(self, pirq):
        return self.call("irq.irq.pirq_bind", self.domain, pirq, self.vcpu)

    def set_level(self, gsi):
        self.program["kernel.x86.ioapic.wires"][gsi].is_level = True

    def vector(self, pirq):
        return self.program["kernel.irq.irq.pirqs"][pirq].vector


def test_a_wire_keeps_its_number(machine):
    assert machine.call("irq.pirq_map.map_gsi", 5, 5) == 5
    assert machine.call("irq.pirq_map.map_gsi", 5, 5) == 5
    assert machine.call("irq.pirq_map.map_gsi", 5, ANY) == 5
    assert machine.call("irq.pirq_map.map_gsi", 5, 6) == -EEXIST
    assert machine.call("irq.pirq_map.map_gsi", 6, 5) == -EPERM
    assert machine.call("irq.pirq_map.map_gsi", NR_GSIS, 5) == -EINVAL
    assert machine.call("irq.pirq_map.map_gsi", 7, NR_PIRQS) == -EINVAL


def test_a_wire_may_have_any_number_of_another_wire(machine):
    assert machine.call("irq.pirq_map.map_gsi", 5, ANY) == 16
    numbers = [machine.call("irq.pirq_map.map_gsi", gsi, ANY) for gsi in range(8, 16)]
    assert numbers == [*range(17, NR_GSIS), -ENOSPC]


def test_how_a_wire_signals_is_said_once(machine):
    assert machine.call("irq.pirq_map.setup_gsi", 20, True, True) == 0
    assert machine.call("irq.pirq_map.setup_gsi", 20, False, False) == -EEXIST
    assert machine.program["kernel.x86.ioapic.wires"][20].is_level
    assert machine.call("irq.pirq_map.setup_gsi", NR_GSIS, True, True) == -EINVAL


def test_binding_what_is_not_mapped(machine):
    assert machine.bind(7) == -EPERM
    assert machine.bind(100_000) == -EINVAL


def test_binding_twice(machine):
    machine.call("irq.pirq_map.map_gsi", 5, 5)
    assert machine.bind(5) == 0
    assert machine.bind(5) == -EBUSY


def test_unmapping_a_bound_wire_silences_it(machine):
    machine.call("irq.pirq_map.map_gsi", 5, 5)
    machine.bind(5)
    vector = machine.vector(5)
    assert machine.call("irq.pirq_map.unmap_pirq", 5) == 0
    assert machine.wires[5] == -vector
    machine.call("irq.irq.interrupt_from_core", vector)
    assert machine.events == []
    machine.call("irq.irq.pirq_unbind", 5)  # the event channel closes later
    assert machine.call("irq.pirq_map.map_gsi", 5, 5) == 5


def test_a_level_wire_is_held_back_until_eoi(machine):
    machine.set_level(10)
    machine.call("irq.pirq_map.map_gsi", 10, 10)
    machine.bind(10)
    vector = machine.vector(10)
    machine.call("irq.irq.interrupt_from_core", vector)
    assert machine.events == [10] and machine.wires[10] == -vector
    machine.call("irq.irq.pirq_eoi", 10)
    assert machine.wires[10] == vector


def test_an_edge_wire_is_not_held_back(machine):
    machine.call("irq.pirq_map.map_gsi", 4, 4)
    machine.bind(4)
    machine.call("irq.irq.interrupt_from_core", machine.vector(4))
    assert machine.events == [4] and machine.wires[4] == machine.vector(4)


def test_nothing_is_signalled_after_unbinding(machine):
    machine.call("irq.pirq_map.map_gsi", 4, 4)
    machine.bind(4)
    vector = machine.vector(4)
    machine.call("irq.irq.pirq_unbind", 4)
    machine.call("irq.irq.interrupt_from_core", vector)
    assert machine.events == [] and machine.wires[4] == -vector


def test_every_pirq_has_a_vector_of_its_own_and_they_run_out(machine):
    bound = []
    for number in range(NR_GSIS):
        machine.call("irq.pirq_map.map_gsi", number, number)
        assert machine.bind(number) == 0
        bound.append(machine.vector(number))
    while True:
        number = machine.call("irq.pirq_map.map_message", 0, 8, 0, False, ANY)
        error = machine.bind(number)
        if error:
            break
        bound.append(machine.vector(number))
    assert error == -ENOSPC
    assert len(set(bound)) == len(bound) and not {0x80, 0} & set(bound)
    assert all(0x30 <= vector < 0xF0 for vector in bound)


def test_messages_come_after_the_wires(machine):
    assert machine.call("irq.pirq_map.map_message", 0, 8, 0, False, ANY) == NR_GSIS
    assert machine.call("irq.pirq_map.map_message", 0, 8, 0, False, NR_GSIS) == -EEXIST
    assert machine.call("irq.pirq_map.map_message", 0, 0xFF, 0, False, ANY) == -ENODEV
    assert machine.call("irq.pirq_map.map_message", 0, 8, 9, True, ANY) == -ENODEV


def test_unmapping_frees_the_vector(machine):
    number = machine.call("irq.pirq_map.map_message", 0, 8, 0, False, ANY)
    machine.bind(number)
    vector = machine.vector(number)
    machine.call("irq.irq.pirq_unbind", number)
    assert machine.call("irq.pirq_map.unmap_pirq", number) == 0
    assert machine.call("irq.pirq_map.unmap_pirq", number) == -EINVAL
    machine.call("irq.pirq_map.map_gsi", 3, 3)
    machine.bind(3)
    assert machine.vector(3) == vector


def test_a_reserved_pirq_is_given_out_once(machine):
    first = machine.call("irq.pirq_map.reserve_pirq", True)
    assert machine.call("irq.pirq_map.reserve_pirq", True) == first + 1
    assert machine.call("irq.pirq_map.unmap_pirq", first) == -EINVAL
    assert machine.call("irq.pirq_map.map_message", 0, 8, 0, False, first) == first


def test_a_message_needs_a_pirq_that_there_is(machine):
    """One of the caller's choice, or any that is free."""
    assert machine.call("irq.pirq_map.map_message", 0, 8, 0, False, NR_PIRQS) == -EINVAL
    assert machine.call("irq.pirq_map.map_message", 0, 8, 0, False, NR_PIRQS - 1) == NR_PIRQS - 1
    while machine.call("irq.pirq_map.map_message", 0, 8, 0, False, ANY) >= 0:
        pass
    assert machine.call("irq.pirq_map.map_message", 0, 8, 0, False, ANY) == -ENOSPC


def test_only_a_bound_wire_by_level_wants_eoi(machine):
    """Not one that is mapped only, nor one by edge, nor a message."""
    machine.set_level(10)
    for wire in (9, 10):
        machine.call("irq.pirq_map.map_gsi", wire, wire)
    pirqs = machine.program["kernel.irq.irq.pirqs"]
    assert not machine.call("irq.irq.wants_eoi", pirqs[10])
    machine.bind(9)
    machine.bind(10)
    assert not machine.call("irq.irq.wants_eoi", pirqs[9])
    assert machine.call("irq.irq.wants_eoi", pirqs[10])
    pirqs[10].kind = PIRQ_MSI
    assert not machine.call("irq.irq.wants_eoi", pirqs[10])
