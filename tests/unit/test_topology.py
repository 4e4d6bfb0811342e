"""Threads, cores, sockets and nodes, as processors and firmware of several kinds tell them."""

import ctypes
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kpy import jit
from kpy.front.structs import size_of

from kernel.x86.percpu import Pcpu

MACHINE = "kernel.x86"
X2APIC_LEAF = 0xB
HTT = 1 << 28


class Machine:
    """Some processors by their APIC ids, and what CPUID says on each."""

    def __init__(self):
        self.leaves, self.cpus = {}, []
        self.core = jit.load(
            f"{MACHINE}.numa",
            also=[f"{MACHINE}.topology"],
            replace={
                f"{MACHINE}.features.cpuid": self.cpuid,
                f"{MACHINE}.percpu.cpu_by_id": lambda cpu: self.cpus[cpu],
            },
        )
        self.clean = [(view, bytes_of(view)) for view in self.core.statics()]

    def cpuid(self, leaf, subleaf):
        words = self.leaves.get((leaf, subleaf), {})
        return {name: words.get(name, 0) for name in ("eax", "ebx", "ecx", "edx")}

    def start(self, apic_ids, leaves=None):
        for view, content in self.clean:
            ctypes.memmove(view.address, content, len(content))
        self.leaves = leaves or {}
        self.cpus = [self.core.new(Pcpu, id=n, apic_id=id) for n, id in enumerate(apic_ids)]
        self["percpu.nr_cpus"].value = len(apic_ids)
        self["topology.read_topology"]()
        return self

    def __getitem__(self, name):
        return self.core[f"{MACHINE}.{name}"]

    def places(self):
        return [
            (self["topology.socket_of"](cpu.apic_id), self["topology.core_of"](cpu.apic_id))
            for cpu in self.cpus
        ]

    def threads(self, cpu):
        return self["topology.thread_masks"][cpu]

    def read(self, srat=None, slit=None):
        """Read tables at addresses of their own."""
        self.tables = []
        for name, table in (("srat", srat), ("slit", slit)):
            if table is not None:
                self.tables.append(ctypes.create_string_buffer(table, len(table)))
                self[f"acpi.{name}"].value = ctypes.addressof(self.tables[-1])
        self["numa.read_nodes"]()
        return self["numa.nr_nodes"].value


def bytes_of(view):
    return ctypes.string_at(view.address, size_of(view.type))


@pytest.fixture(scope="module")
def machine():
    return Machine()


def levels(*shifts, leaf=X2APIC_LEAF):
    """Leaves that tell the bits below each level: threads, then cores, then more."""
    kinds = enumerate(shifts)
    found = {(leaf, n): {"eax": shift, "ebx": 1, "ecx": (n + 1) << 8} for n, shift in kinds}
    return found | {(0, 0): {"eax": leaf}}


def test_threads_by_levels(machine):
    machine.start([0, 1, 2, 3, 8, 9], levels(1, 3))
    assert machine.places() == [(0, 0), (0, 0), (0, 1), (0, 1), (1, 0), (1, 0)]
    assert [machine.threads(n) for n in range(6)] == [3, 3, 12, 12, 48, 48]
    assert machine["topology.is_uneven"].value
    assert machine["topology.cores_per_socket"]() == 2
    assert machine["topology.threads_per_core"]() == 2


def test_dies_count_into_the_socket(machine):
    """Leaf 0x1F has levels between core and socket; what is a core's number reaches over them."""
    machine.start([0, 4, 16], levels(1, 2, 4, leaf=0x1F))
    assert machine.places() == [(0, 0), (0, 2), (1, 0)]


def test_no_threads(machine):
    machine.start([0, 1, 2, 3], levels(0, 2))
    assert machine.places() == [(0, n) for n in range(4)]
    assert not machine["topology.is_uneven"].value


@pytest.mark.parametrize(
    ("leaves", "places"),
    [
        ({}, [(0, 0), (1, 0), (2, 0), (3, 0)]),
        ({(1, 0): {"edx": HTT, "ebx": 2 << 16}}, [(0, 0), (0, 0), (1, 0), (1, 0)]),
        (
            {
                (0, 0): {"eax": 4},
                (1, 0): {"edx": HTT, "ebx": 4 << 16},
                (4, 0): {"eax": 1 << 26},
            },
            [(0, 0), (0, 0), (0, 1), (0, 1)],
        ),
        (
            {
                (1, 0): {"edx": HTT, "ebx": 2 << 16},
                (0x80000000, 0): {"eax": 0x80000008},
                (0x80000008, 0): {"ecx": 1},
            },
            [(0, 0), (0, 1), (1, 0), (1, 1)],
        ),
    ],
    ids=["nothing told", "hyperthreads", "Intel: 2 cores of 2", "AMD: 2 cores"],
)
def test_older_processors_count(machine, leaves, places):
    assert machine.start([0, 1, 2, 3], leaves).places() == places


def table(signature, body):
    return signature + struct.pack("<I", 36 + len(body)) + bytes(28) + body


def srat(*entries):
    return table(b"SRAT", bytes(12) + b"".join(entries))


def apic(id, domain, enabled=1):
    high = (domain >> 8).to_bytes(3, "little")
    return struct.pack("<BBBBIB3sI", 0, 16, domain & 0xFF, id, enabled, 0, high, 0)


def x2apic(id, domain, enabled=1):
    return struct.pack("<BBHIIIII", 2, 24, 0, domain, id, enabled, 0, 0)


def memory(start, size, domain, enabled=1):
    return struct.pack("<BBIHQQIIQ", 1, 40, domain, 0, start, size, 0, enabled, 0)


GIB = 1 << 30
TWO_NODES = (
    apic(0, 7),
    x2apic(1, 0x12345),
    memory(0, GIB, 7),
    memory(GIB, GIB, 0x12345),
    memory(4 * GIB, GIB, 7),
)


def test_two_nodes(machine):
    machine.start([0, 1], levels(0, 2))
    assert machine.read(srat(*TWO_NODES)) == 2
    assert [machine["numa.node_of_cpu"](n) for n in (0, 1, 9)] == [0, 1, 0]
    assert [machine["numa.node_bytes"](n) for n in (0, 1)] == [2 * GIB, GIB]
    assert [machine["numa.same_node"](n) for n in (0, 1)] == [1, 2]
    assert [machine["numa.distance"](0, n) for n in (0, 1)] == [10, 20]
    assert machine["topology.is_uneven"].value


def test_distances_go_by_proximity_domain(machine):
    machine.start([0, 1], levels(0, 2))
    matrix = bytes([10, 31, 17, 31, 10, 40, 18, 40, 10])
    slit = table(b"SLIT", struct.pack("<Q", 3) + matrix)
    assert machine.read(srat(apic(0, 2), apic(1, 0), memory(0, GIB, 2)), slit) == 2
    assert [machine["numa.distance"](a, b) for a, b in ((0, 0), (0, 1), (1, 0))] == [10, 18, 17]


def test_a_matrix_that_is_cut_short_does_not_count(machine):
    machine.start([0, 1], levels(0, 2))
    slit = table(b"SLIT", struct.pack("<Q", 3) + bytes(8))
    machine.read(srat(apic(0, 0), apic(1, 1), memory(0, GIB, 0)), slit)
    assert machine["numa.distance"](0, 1) == 20


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [apic(0, 1), apic(1, 2)],
        [apic(0, 1), memory(0, GIB, 1, enabled=0), memory(0, 0, 1)],
        [apic(0, 1), memory((1 << 64) - 4096, 8192, 1)],
        [*TWO_NODES, *(memory(n << 30, GIB, n) for n in range(10, 30))],
        [*TWO_NODES, *(memory(n << 30, GIB, 7) for n in range(10, 80))],
    ],
    ids=["nothing", "no memory", "none enabled", "beyond all addresses", "17 nodes", "65 ranges"],
)
def test_what_makes_no_sense_is_one_node(machine, entries):
    machine.start([0, 1], levels(0, 2))
    assert machine.read(srat(*entries)) == 1
    assert machine["numa.node_of_cpu"](1) == 0 and machine["numa.same_node"](0) & 3 == 3


def test_what_is_not_enabled_does_not_count(machine):
    machine.start([0, 1], levels(0, 2))
    assert machine.read(srat(apic(0, 1, enabled=0), x2apic(1, 2, 0), memory(0, GIB, 3))) == 1
    assert machine["numa.node_bytes"](0) == GIB


@given(body=st.binary(max_size=200), cut=st.integers(0, 400))
def test_garbage_is_read_within_the_table(machine, body, cut):
    """The table says how long it is, and nothing behind that is looked at."""
    machine.start([0, 1], levels(0, 2))
    whole = bytearray(srat(*TWO_NODES, body))
    whole[4:8] = min(cut, len(whole)).to_bytes(4, "little")
    assert 1 <= machine.read(bytes(whole)) <= 16
