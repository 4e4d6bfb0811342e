"""A fuzzer's program: a list of actions, each of them bytes as tests/fuzz/runner.py reads them."""

import struct
from collections import namedtuple

import abi

from tests.fuzz.runner import CALL, RACE, READ, REGISTER, TIME, TRAP, WRITE

HEAD = struct.Struct("<IIIIQQ5QQ")
WORDS = (1 << 64) - 1
MAGIC = b"proxen fuzz 1\n"
KINDS = {
    CALL: "call",
    WRITE: "write",
    READ: "read",
    TRAP: "trap",
    TIME: "time",
    REGISTER: "set",
    RACE: "race",
}
NAMES = {
    getattr(abi, name): name.removeprefix("__HYPERVISOR_")
    for name in sorted(dir(abi), reverse=True)
    if name.startswith("__HYPERVISOR_")
}

Parts = namedtuple("Parts", "kind actor number args data at choices")


def action(kind, actor=0, number=0, args=(), data=b"", at=0, choices=0):
    """Encode an action."""
    data = bytes(data)
    padded = data + bytes(-len(data) % 8)
    full = [a & WORDS for a in (*args, 0, 0, 0, 0, 0)[:5]]
    head = HEAD.pack(
        HEAD.size + len(padded), kind, actor, len(data), at & WORDS, number & WORDS, *full, choices
    )
    return head + padded


def parts(encoded):
    """Decode an action."""
    _, kind, actor, data_size, at, number, *args, choices = HEAD.unpack_from(encoded)
    return Parts(kind, actor, number, args, encoded[HEAD.size : HEAD.size + data_size], at, choices)


def changed(encoded, **fields):
    """Return an action with other parts."""
    return action(**(parts(encoded)._asdict() | fields))


def save(path, program, remarks=()):
    """Write a program to a file."""
    text = "".join(f"# {line}\n" for line in remarks)
    with open(path, "wb") as file:
        file.write(MAGIC + text.encode() + b"\n" + b"".join(program))


def load(path):
    """Read a program from a file."""
    with open(path, "rb") as file:
        data = file.read()
    if not data.startswith(MAGIC):
        raise ValueError(f"{path} holds no fuzzer's program")
    data, program = data[data.index(b"\n\n") + 2 :], []
    while data:
        size = int.from_bytes(data[:4], "little")
        program.append(data[:size])
        data = data[size:]
    return program


def show(encoded, actors):
    """Return an action as people read it."""
    p = parts(encoded)
    domain_id, vcpu = actors[p.actor % len(actors)]
    data = f"  [{p.at:#x}] = {words(p.data)}" if p.data else ""
    late = f"  preempt={p.choices:#x}" if p.choices else ""
    args = list(p.args)
    if p.kind == CALL:
        what = f"{NAMES.get(p.number, p.number)}({', '.join(f'{a:#x}' for a in args)})"
    else:
        what = f"{p.number:#x} {' '.join(f'{a:#x}' for a in args)}" if p.kind != WRITE else ""
    who = "" if p.kind == TIME else f"d{domain_id}v{vcpu} "
    return f"{who}{KINDS.get(p.kind, p.kind)} {what}{data}{late}"


def words(data):
    """Show data as 64-bit words, without the zeros at the end."""
    found = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
    while len(found) > 1 and found[-1] == 0:
        found.pop()
    return " ".join(f"{word:x}" for word in found)
