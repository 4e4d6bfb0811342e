"""The rules of Chrome's trace event format that a viewer relies on, each checked.

Source: the document "Trace Event Format": Duration Events, Instant Events, Flow Events, Metadata
Events. Perfetto also wants a thread's number to belong to one process only.
"""

import json
from collections import defaultdict

REQUIRED = {"name", "ph", "ts", "pid", "tid"}
OF_PHASE = {"B": {"cat"}, "E": set(), "i": {"cat", "s"}, "s": {"cat", "id"}, "f": {"cat", "id"}}
METADATA = {"process_name", "process_sort_index", "thread_name", "thread_sort_index"}


def check(text):
    """Hold a trace to the format; returns the parsed trace."""
    trace = json.loads(text)
    assert trace["displayTimeUnit"] in ("ms", "ns")
    events = trace["traceEvents"]
    stacks, flows, owner = defaultdict(list), {}, {}
    last_ts = 0
    for event in events:
        assert event.keys() >= REQUIRED, event
        assert isinstance(event["name"], str) and event["name"]
        assert isinstance(event["ts"], int | float) and event["ts"] >= last_ts, "not sorted"
        last_ts = event["ts"]
        if event["ph"] == "M":
            assert event["name"] in METADATA
            continue
        assert event["ph"] in OF_PHASE and event.keys() >= OF_PHASE[event["ph"]], event
        assert owner.setdefault(event["tid"], event["pid"]) == event["pid"]
        check_nesting(event, stacks[event["tid"]], flows)
    assert not any(stacks.values()), "a B without its E"
    check_names(events, owner)
    return trace


def check_nesting(event, stack, flows):
    """Check that slices nest, and that an arrow's end follows its beginning, inside a slice."""
    match event["ph"]:
        case "B":
            stack.append(event["name"])
        case "E":
            assert stack and stack.pop() == event["name"], "an E without its B"
        case "i":
            assert event["s"] in ("t", "p", "g")
        case "s":
            assert event["id"] not in flows
            flows[event["id"]] = event["ts"]
        case "f":
            assert flows.pop(event["id"]) <= event["ts"]
            assert event["bp"] == "e" and stack, "an arrow that ends outside of a slice"


def check_names(events, owner):
    """Check that each row and group in use has one name, given before its first event."""
    names, used = {}, set()
    for event in events:
        key = (event["pid"], event["tid"])
        if event["ph"] != "M":
            used.add(key)
            assert key in names and (event["pid"], 0) in names, "a row without a name"
        elif event["name"] in ("process_name", "thread_name"):
            assert key not in names
            names[key] = event["args"]["name"]
