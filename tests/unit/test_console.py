"""The console: lines are whole, numbers formatted, the ring keeps the latest output for readers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kpy import Array, jit, u8

from kernel.x86.percpu import Pcpu

RING = 32768
sent = bytearray()


@pytest.fixture(scope="module")
def program():
    p = jit.load(
        "kernel.console.console",
        replace={
            "kernel.x86.percpu.this_cpu": lambda: p.cpu,
            "kernel.console.uart.uart_put": sent.append,
            "kernel.console.uart.uart_init": lambda: None,
            "kernel.x86.ipi.serve_mailbox": lambda: None,
        },
    )
    p.cpu = p.new(Pcpu, id=0)
    p.serial_enabled.value = True
    return p


@pytest.fixture(autouse=True)
def nothing_sent_yet():
    sent.clear()


def printed(program, *calls):
    for name, *arguments in calls:
        getattr(program, name)(*arguments)
    program.end_line()
    return sent.decode()


def read_all(program, start):
    """Read the ring in small pieces, as the toolstack does."""
    chunk = program.new(Array[u8, 100])
    got, index = b"", start
    while True:
        count, index = program.console_read_ring(index, chunk)
        if count == 0:
            return got, index
        got += bytes(chunk)[:count]


def test_a_line_is_marked_and_ended(program):
    assert printed(program, ("write_str", b"hello")) == "proxen: hello\r\n"


@pytest.mark.parametrize(
    ("value", "negative", "style", "text"),
    [
        (0, False, 10, "0"),
        (1234, False, 10, "1234"),
        (5, True, 10, "-5"),
        (255, False, 0x110, "0xff"),
        (255, False, 16 | 8 << 16, "      ff"),
        (255, False, 0x310 | 10 << 16, "0x000000ff"),
        ((1 << 64) - 1, False, 10, str((1 << 64) - 1)),
    ],
)
def test_numbers(program, value, negative, style, text):
    assert printed(program, ("write_int", value, negative, style)) == f"proxen: {text}\r\n"


def test_an_endless_line_is_cut(program):
    line = printed(program, ("write_str", b"x" * 5000))
    assert line.endswith("xxx\r\n") and len(line) < 600


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.binary(min_size=1, max_size=9000), max_size=8))
def test_the_ring_keeps_the_latest(program, texts):
    start = program.ring_written.value
    for text in texts:
        program.console_write(text)
    everything = b"".join(texts)
    got, index = read_all(program, start)
    assert got == everything[-RING:]
    assert index == start + len(everything)


def test_a_cleared_ring_is_empty(program):
    program.console_write(b"old")
    program.console_ring_clear()
    program.console_write(b"new")
    assert read_all(program, 0)[0] == b"new"
