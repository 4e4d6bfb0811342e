"""Nodes: which processors and which memory are near each other, and how far nodes are apart.

Told by the firmware's SRAT and SLIT; a machine without a sound SRAT is one node. Nodes are numbered
as the SRAT first mentions their proximity domains. Source: ACPI 6.4, 5.2.16, 5.2.17.
"""

from kpy import Array, bit, static, struct, u32, u64

from kernel.x86 import acpi, topology
from kernel.x86.acpi import ENABLED
from kernel.x86.percpu import cpu_by_id, nr_cpus
from kernel.x86.table_read import for_each_entry, read8, read32, read64

MAX_NODES = 16
MAX_RANGES = 64
MAX_AFFINITIES = 256
LOCAL_DISTANCE = 10
REMOTE_DISTANCE = 20
SRAT_FIRST_ENTRY = 48
SLIT_COUNT = 36
SLIT_MATRIX = 44


class SratEntry:
    """Kinds of entries of the SRAT, and how long they are at least."""

    LOCAL_APIC, MEMORY, LOCAL_X2APIC = 0, 1, 2
    LOCAL_APIC_BYTES, MEMORY_BYTES, LOCAL_X2APIC_BYTES = 16, 40, 24


@struct
class NodeRange:
    """Memory of one node, in bytes."""

    start: u64
    end: u64
    node: u32


@struct
class CpuAffinity:
    apic_id: u32
    node: u32


nr_nodes = static(u32, 1)
domains = static(Array[u32, MAX_NODES])  # each node's proximity domain, as far as the SRAT is read
nr_domains = static(u32)
node_ranges = static(Array[NodeRange, MAX_RANGES])
nr_ranges = static(u64)
affinities = static(Array[CpuAffinity, MAX_AFFINITIES])
nr_affinities = static(u64)
node_masks = static(Array[u64, MAX_NODES])  # the processors of each node
overflows = static(bool)  # the SRAT has more than there is room for


def read_nodes() -> None:
    """Read the nodes from the firmware's tables. Context: boot, when all processors run."""
    global nr_nodes
    if acpi.srat == 0:
        return
    for_each_entry(acpi.srat, SRAT_FIRST_ENTRY, read_srat_entry)
    if overflows or nr_ranges == 0 or nr_domains == 0:
        forget_nodes()
        return
    nr_nodes = nr_domains
    for cpu in range(nr_cpus):
        node_masks[node_of_cpu(cpu_by_id(cpu).apic_id)] |= bit(u64(cpu))
    topology.is_uneven = topology.is_uneven or nr_nodes > 1


def forget_nodes() -> None:
    """Take the machine for one node."""
    global nr_ranges, nr_affinities
    nr_ranges = 0
    nr_affinities = 0


def read_srat_entry(entry: u64, length: u64) -> None:
    """Read one entry of the SRAT; one that is cut short, or not enabled, counts nothing."""
    match read8(entry):
        case SratEntry.LOCAL_APIC:
            if length >= SratEntry.LOCAL_APIC_BYTES and read32(entry + 4) & ENABLED:
                domain = u32(read8(entry + 2)) | read32(entry + 8) & 0xFFFFFF00
                add_affinity(u32(read8(entry + 3)), domain)
        case SratEntry.MEMORY:
            if length >= SratEntry.MEMORY_BYTES and read32(entry + 28) & ENABLED:
                add_range(read64(entry + 8), read64(entry + 16), read32(entry + 2))
        case SratEntry.LOCAL_X2APIC:
            if length >= SratEntry.LOCAL_X2APIC_BYTES and read32(entry + 12) & ENABLED:
                add_affinity(read32(entry + 8), read32(entry + 4))
        case _:
            pass


def node_of_domain(domain: u32) -> u32:
    """Return the node of a proximity domain, a new one if it was not mentioned before."""
    global nr_domains, overflows
    for node in range(nr_domains):
        if domains[node] == domain:
            return node
    if nr_domains == MAX_NODES:
        overflows = True
        return 0
    domains[nr_domains] = domain
    nr_domains += 1
    return nr_domains - 1


def add_affinity(apic_id: u32, domain: u32) -> None:
    """Remember a processor's node."""
    global nr_affinities, overflows
    node = node_of_domain(domain)
    if nr_affinities == MAX_AFFINITIES:
        overflows = True
        return
    affinities[nr_affinities] = CpuAffinity(apic_id=apic_id, node=node)
    nr_affinities += 1


def add_range(start: u64, size: u64, domain: u32) -> None:
    """Remember memory of a node; one that ends beyond all addresses is no memory."""
    global nr_ranges, overflows
    if size == 0 or size > ~start:
        return
    node = node_of_domain(domain)
    if nr_ranges == MAX_RANGES:
        overflows = True
        return
    node_ranges[nr_ranges] = NodeRange(start=start, end=start + size, node=node)
    nr_ranges += 1


def node_of_cpu(apic_id: u32) -> u32:
    """Return a processor's node, 0 if the firmware does not say."""
    for i in range(nr_affinities):
        if affinities[i].apic_id == apic_id:
            return affinities[i].node
    return 0


def same_node(cpu: u32) -> u64:
    """Return the processors of a processor's node, all of them on a machine of one node."""
    if nr_nodes == 1:
        return ~u64(0)
    return node_masks[node_of_cpu(cpu_by_id(cpu).apic_id)]


def node_bytes(node: u32) -> u64:
    """Return how much memory a node has. Context: there is more than one node."""
    total: u64 = 0
    for i in range(nr_ranges):
        if node_ranges[i].node == node:
            total += node_ranges[i].end - node_ranges[i].start
    return total


def distance(a: u32, b: u32) -> u32:
    """Return how far two nodes are apart, in tenths of the way within one; the firmware's matrix
    counts where it is sound.
    """
    if acpi.slit != 0:
        count = read64(acpi.slit + SLIT_COUNT)
        row, column = u64(domains[a]), u64(domains[b])
        length = u64(read32(acpi.slit + 4))
        if (
            row < count
            and column < count
            and count <= 256
            and SLIT_MATRIX + count * count <= length
        ):
            return u32(read8(acpi.slit + SLIT_MATRIX + row * count + column))
    return LOCAL_DISTANCE if a == b else REMOTE_DISTANCE
