"""What a fuzzer's run reached, by room of the core, and what it did not."""

from collections import Counter


def room_of(edge):
    return edge.module.split(".")[1]


def coverage(engine):
    """Lines of a table: edges reached of all, by room."""
    reached = engine.reached()
    total = Counter(room_of(edge) for edge in engine.edges)
    found = Counter(room_of(edge) for edge in engine.edges if edge.number in reached)
    rows = [(room, found[room], total[room]) for room in sorted(total)]
    rows.append(("all", sum(found.values()), sum(total.values())))
    return [f"{room:10} {n:5} of {of:5}  {100 * n // of:3} %" for room, n, of in rows]


def write_report(engine, folder):
    """Print the table, and write down which edges were not reached."""
    print("\n".join(coverage(engine)))
    reached = engine.reached()
    missing = [str(edge) for edge in engine.edges if edge.number not in reached]
    (folder / "unreached.txt").write_text("\n".join(missing) + "\n", encoding="utf-8")
    print(f"{folder / 'unreached.txt'} lists the rest", flush=True)
