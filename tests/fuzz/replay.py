"""Runs one program with all checks after every action, and shows it."""

from tests.fuzz import program as programs
from tests.fuzz.engine import Engine
from tests.fuzz.world import World


def replay(options):
    """Replay a file. Returns: the exit code, 1 if something is wrong."""
    program = programs.load(options.replay)
    world = World()
    engine = Engine(world, options.toolstack)
    for number, (items, result, finding) in enumerate(engine.trace(program)):
        outcome = "-" if result is None else result
        shown = "\n       ".join(programs.show(item, world.actors) for item in items)
        print(f"{number:4} {shown} -> {outcome}")
        if finding:
            print(f"{finding.what}\n{finding.detail}")
            return 1
    finding = engine.run(program, is_thorough=True)
    print(finding.what if finding else "nothing is wrong")
    return 1 if finding else 0
