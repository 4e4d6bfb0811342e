"""How long a vCPU runs while another waits: the same time always, or lengths drawn from a seed.

With `sched-seed=N` on the core's command line slices vary, so each seed leads the guests through
another interleaving, and on a machine that is repeatable itself (`make run SEED=N`) the same seed
through the same one. Each CPU draws from a generator of its own and so needs no lock.

Source: S. Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled",
xorshift64*.
"""

from kpy import u32, u64, wrapping_mul

from kernel.base.cmdline import find_option, parse_number
from kernel.sched.place import cpu_scheds

SLICE_NS = 10_000_000
SHORTEST_NS = SLICE_NS // 4
SPREAD_NS = SLICE_NS * 3 // 2  # so the longest is 7/4 of a slice, and the mean is one
SEED_FACTOR = 0x9E3779B97F4A7C15  # spreads small seeds over all bits; odd, so that it loses none
OUTPUT_FACTOR = 0x2545F4914F6CDD1D
CPU_SHIFT = 56  # above every number that the command line can give


def init_slices(cpu: u32) -> None:
    """Start a CPU's generator if there is a seed. Its state is not 0, and so never becomes it."""
    found, value = find_option(b"sched-seed")
    if found:
        seed, _ = parse_number(value)
        state = wrapping_mul((seed + 1) ^ u64(cpu) << CPU_SHIFT, SEED_FACTOR)
        cpu_scheds[cpu].slice_random = max(state, 1)


def slice_ns(cpu: u32) -> u64:
    """Return the length of the slice that begins on `cpu` now. Context: that CPU."""
    x = cpu_scheds[cpu].slice_random
    if x == 0:
        return SLICE_NS
    x ^= x >> 12
    x ^= x << 25
    x ^= x >> 27
    cpu_scheds[cpu].slice_random = x
    return SHORTEST_NS + (wrapping_mul(x, OUTPUT_FACTOR) >> 32) % SPREAD_NS
