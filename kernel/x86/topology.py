"""Which processors are threads of one core, and cores of one socket.

An APIC id is made of three numbers, socket, core and thread; CPUID says how many bits each has.
Source: Intel SDM vol 3 9.9 (detecting hierarchical topology); AMD APM vol 3 E.5 (leaves 80000008H,
8000001EH).
"""

from kpy import Array, bit, clz, ctz, popcount, static, truncate, u32, u64

from kernel.x86.features import cpuid
from kernel.x86.percpu import NR_CPUS, cpu_by_id, nr_cpus

EXTENDED_TOPOLOGY = (0x1F, 0xB)
MOST_LEVELS = 8


class Level:
    """Kinds of levels in the extended topology's leaves."""

    NONE, THREAD = 0, 1


thread_bits = static(u32)  # an APIC id's lowest bits
core_bits = static(u32)  # those above
thread_masks = static(Array[u64, NR_CPUS])  # of each processor: the threads of its core
is_uneven = static(bool)  # some CPUs are nearer to each other than others: threads, or nodes


def read_topology() -> None:
    """Find out what an APIC id is made of, and which processors share a core.

    Context: boot, when all processors run.
    """
    if not (read_levels(EXTENDED_TOPOLOGY[0]) or read_levels(EXTENDED_TOPOLOGY[1])):
        read_counts()
    for cpu in range(nr_cpus):
        link_threads(cpu)


def read_levels(leaf: u32) -> bool:
    """Read a leaf that lists the levels of the topology. Returns: False, there is none."""
    global thread_bits, core_bits
    if cpuid(0, 0).eax < leaf or cpuid(leaf, 0).ebx & 0xFFFF == 0:
        return False
    threads: u32 = 0
    whole: u32 = 0
    for subleaf in range(u32(MOST_LEVELS)):
        level = cpuid(leaf, subleaf)
        kind = level.ecx >> 8 & 0xFF
        if kind == Level.NONE:
            break
        whole = level.eax & 31
        if kind == Level.THREAD:
            threads = whole
    thread_bits = threads
    core_bits = whole - min(threads, whole)
    return True


def read_counts() -> None:
    """Reckon with the counts that older processors give; AMD's first, Intel's else."""
    global thread_bits, core_bits
    highest = cpuid(0x80000000, 0).eax
    is_multi = cpuid(1, 0).edx & bit(28) != 0
    logical = cpuid(1, 0).ebx >> 16 & 0xFF if is_multi else 1
    cores: u32 = 1
    if highest >= 0x80000008 and cpuid(0x80000008, 0).ecx & 0xFF != 0:
        cores = (cpuid(0x80000008, 0).ecx & 0xFF) + 1
    elif cpuid(0, 0).eax >= 4:
        cores = (cpuid(4, 0).eax >> 26) + 1
    thread_bits = bits_for(max(logical, cores) // cores)
    core_bits = bits_for(cores)


def bits_for(count: u32) -> u32:
    """Return how many bits number so many things, at least one of them."""
    return 32 - clz(count - 1) if count > 1 else 0


def core_of(apic_id: u32) -> u32:
    """Return a processor's core within its socket."""
    return apic_id >> thread_bits & ((1 << core_bits) - 1)


def socket_of(apic_id: u32) -> u32:
    """Return a processor's socket."""
    return apic_id >> (thread_bits + core_bits)


def threads_per_core() -> u32:
    """Return how many threads of the first processor's core run."""
    return truncate(u32, popcount(thread_masks[0]))


def cores_per_socket() -> u32:
    """Return how many cores of the first processor's socket run."""
    socket = socket_of(cpu_by_id(0).apic_id)
    count: u32 = 0
    for cpu in range(nr_cpus):
        is_first = ctz(thread_masks[cpu]) == u64(cpu)
        if is_first and socket_of(cpu_by_id(cpu).apic_id) == socket:
            count += 1
    return count


def link_threads(cpu: u32) -> None:
    """Note which processors are threads of the same core as a given one."""
    global is_uneven
    mine = cpu_by_id(cpu).apic_id >> thread_bits
    for other in range(nr_cpus):
        if cpu_by_id(other).apic_id >> thread_bits == mine:
            thread_masks[cpu] |= bit(u64(other))
            is_uneven = is_uneven or other != cpu
