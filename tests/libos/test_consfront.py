"""The console's rings against a daemon in Python."""

import abi
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kpy import Array, jit, u8

IN, OUT = 1024, 2048
WRAP = 2**32


class Daemon:
    """Takes output when notified or yielded to; types when told."""

    def __init__(self):
        self.program = jit.load(
            "libos.keyboard",
            also=["drivers.consfront", "libos.start_info"],
            replace={
                "libos.hypercall.hypercall": self.hypercall,
                "libos.event.event_count": lambda port: 0,
                "libos.thread.wait_event": self.wait_event,
            },
        )
        info = self.program.new(abi.start_info)
        self.program["libos.start_info.remember_start_info"](info)
        self.page = self.program["drivers.consfront.console_page"]
        self.start_over(0)

    def start_over(self, index):
        self.read, self.keys, self.asleep = b"", b"", False
        for name in ("in_cons", "in_prod", "out_cons", "out_prod"):
            setattr(self.page, name, index)

    def hypercall(self, number, *arguments):
        while not self.asleep and self.page.out_cons != self.page.out_prod:
            self.read += bytes([self.page.out[self.page.out_cons % OUT]])
            self.page.out_cons = (self.page.out_cons + 1) % WRAP
        return 0

    def wait_event(self, port, seen, deadline):
        key, self.keys = self.keys[:1], self.keys[1:]
        self.page.in_[self.page.in_prod % IN] = key[0]
        self.page.in_prod = (self.page.in_prod + 1) % WRAP
        return True


@pytest.fixture(scope="module")
def daemon():
    return Daemon()


@given(text=st.binary(max_size=6000), index=st.sampled_from([0, 2000, WRAP - 100]))
def test_all_output_arrives_in_order(daemon, text, index):
    daemon.start_over(index)
    daemon.program["drivers.consfront.consfront_write"](text)
    assert daemon.read == text


def test_draining_gives_up_on_a_daemon_that_sleeps(daemon):
    daemon.start_over(0)
    daemon.asleep = True
    daemon.program["drivers.consfront.consfront_write"](b"nobody listens")
    daemon.program["drivers.consfront.consfront_drain"]()
    assert daemon.page.out_cons == 0


@pytest.mark.parametrize("index", [0, WRAP - 2])
def test_a_line_is_edited_and_echoed(daemon, index):
    daemon.start_over(index)
    daemon.keys = b"helxx\x7f\x08lo\r"
    line = daemon.program.new(Array[u8, 8])
    assert daemon.program.read_line(line) == 5
    assert bytes(line[i] for i in range(5)) == b"hello"
    assert daemon.read == b"helxx\b \b\b \blo\n"
