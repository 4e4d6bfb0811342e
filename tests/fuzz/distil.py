"""Makes a small corpus of a large one: short programs that together reach the same edges."""

from tests.fuzz import program as programs
from tests.fuzz.corpus import Corpus
from tests.fuzz.engine import Engine, minimise
from tests.fuzz.world import World

TRIES = 150  # to shorten one program


def distil(options):
    """Write the small corpus of the folder's large one. Returns: the exit code."""
    engine = Engine(World())
    large, small = Corpus(f"{options.folder}/corpus"), Corpus(options.distil)
    kept = [(p, e) for p in map(programs.load, large.files()) if (e := edges_of(engine, p))]
    wanted = set().union(*(edges for _, edges in kept))
    total = len(wanted)
    chosen = []
    while wanted:
        program, edges = max(kept, key=lambda one: len(one[1] & wanted) / (20 + len(one[0])))
        chosen.append(shortest(engine, program, edges & wanted))
        wanted -= edges
    for program in needed(engine, chosen):
        small.add(program)
    print(f"{len(small.programs)} programs of {len(kept)} reach all {total} edges")
    return 0


def edges_of(engine, program):
    """The edges that a program reaches; none if something is wrong with it."""
    if engine.run(program, len(program) + 1) is not None:
        return set()
    return {number for number, count in enumerate(engine.counts) if count}


def shortest(engine, program, wanted):
    """Shorten a program as long as it reaches what is wanted of it."""
    return minimise(program, lambda shorter: wanted <= edges_of(engine, shorter), TRIES)


def needed(engine, chosen):
    """The programs that reach what no later one does: those chosen last are the special ones."""
    reached, found = set(), []
    for program in reversed(chosen):
        edges = edges_of(engine, program)
        if not edges <= reached:
            found.append(program)
            reached |= edges
    return found
