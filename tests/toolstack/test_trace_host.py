"""A trace of a real machine: a tiny guest's whole life, found again in the picture and the text."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import xen_codecs as abi
from xentrace.records import Spool
from xm.client import Client

from tests.toolstack import tiny_guest, trace_format
from tools.setup.patience import PATIENCE_S

XM = Path(__file__).parents[2] / "xm"
HELLO_EXIT = 42


@pytest.fixture
def xm(xend_url, tmp_path):
    """Return a function that runs xm in a folder of its own."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, XM, *arguments],
            env={**os.environ, "PROXEN_URL": xend_url},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    return run


@pytest.fixture
def hello(tmp_path):
    """Write a domain file of a guest that says hello and powers off; returns its path."""
    (tmp_path / "hello.elf").write_bytes(tiny_guest.build(tiny_guest.HELLO))
    cfg = tmp_path / "traced.cfg"
    cfg.write_text('name = "traced"\nkernel = "hello.elf"\nmemory = 8\n')
    return str(cfg)


def rows(trace, group):
    """Return the events of a group of rows, found by the group's name."""
    events = trace["traceEvents"]
    names = [e for e in events if e["name"] == "process_name" and e["args"]["name"] == group]
    assert len(names) == 1, f"the picture has no group '{group}'"
    return [e for e in events if e["pid"] == names[0]["pid"] and e["ph"] != "M"]


def test_the_life_of_a_guest(xm, hello, tmp_path, xend_url):
    free = Client(xend_url).get("/host")["free_pages"]
    done = xm("trace", "-o", "life.json", sys.executable, str(XM), "run", hello)
    assert done.returncode == HELLO_EXIT, done.stderr
    trace = trace_format.check((tmp_path / "life.json").read_text())
    own = [event for event in rows(trace, "traced") if event["ph"] == "B"]
    if trace["otherData"]["lost_records"] == 0:
        called = [event["name"] for event in own if event["cat"] == "hypercall"]
        assert "event_channel_op.send" in called and "sched_op.shutdown" in called
    assert {event["name"] for event in own} >= {"running"}
    cpus = rows(trace, "physical CPUs")
    assert {event["name"] for event in cpus} >= {"traced vcpu 0", "Domain-0 vcpu 0"}
    assert len({event["tid"] for event in cpus}) == 2
    assert any(event["ph"] == "f" for event in rows(trace, "Domain-0"))
    assert Client(xend_url).get("/trace")["running"] is False
    # The rings stay, as on Xen: 256 pages for each processor and t_info; the guest leaves nothing.
    Client(xend_url).delete("/domains/traced")
    assert free - Client(xend_url).get("/host")["free_pages"] in (0, 2 * 256 + 1)


def test_text_is_in_order_of_time_and_names_its_calls(xm):
    done = xm("trace", "-d", "0.5", "--text", "--events", "hypercall")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) > 20, done.stderr
    times = [float(re.match(r"\s*(\d+\.\d{9}) cpu\d+ ", line).group(1)) for line in lines]
    assert times == sorted(times)
    assert any(re.search(r"d0v\d +hypercall sched_op\.block\(", line) for line in lines)


def test_lost_records_are_reported(xend_url, dom0):
    """While xend is stopped nobody reads, and a process that makes system calls fills the ring."""
    signal_xend = (
        "for p in /proc/[0-9]*; do grep -q xend $p/cmdline && kill -{} ${{p#/proc/}}; done"
    )
    client = Client(xend_url)
    headers = {"Content-Type": "application/json"}
    stream = client.request("POST", "/trace", b'{"seconds": 60}', headers)
    try:
        dom0.check(signal_xend.format("STOP") + "; dd if=/dev/zero of=/dev/null bs=1 count=40000")
    finally:
        dom0.check(signal_xend.format("CONT") + "; true")
        client.delete("/trace")
    spool = Spool()
    spool.feed(stream.read())
    lost = [record.words[0] for record in spool if record.event == abi.TRC_LOST_RECORDS]
    spool.close()
    assert sum(lost) > 1000, lost


def test_a_second_trace_is_refused_while_one_runs(xend_url):
    client = Client(xend_url)
    headers = {"Content-Type": "application/json"}
    stream = client.request("POST", "/trace", b'{"events": 200704}', headers)
    try:
        with pytest.raises(Exception, match="A trace runs already"):
            client.post("/trace", {})
    finally:
        client.delete("/trace")
        stream.read()
    assert client.get("/trace")["running"] is False
