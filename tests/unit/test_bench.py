"""The benchmark's arithmetic: figures out of lines, ratios, what must not be passed over."""

import json

import pytest

from tools.bench import figures, operations, report, services
from tools.bench.figures import Figure
from tools.bench.report import Row, pair, summary, table
from tools.image.ramdisk import DOMU
from tools.qemu.machine import MachineFailure

LINES = """noise: bench press 1 2
bench toy_disk_read_4k 21500 30000
time toy_create_call 12345678
rate toy_disk_read_stream 102400
stream linux_disk_read 16777216 125000000
each linux_disk_read_4k 256 12800000
ping linux_round_trip round-trip min/avg/max = 0.100/0.250/1.500 ms
"""


def test_every_kind_of_line_is_read():
    assert figures.read(LINES.replace("\n", "\r\n")) == {
        "toy_disk_read_4k": Figure(21.5, "us", 30.0),
        "toy_create_call": Figure(12345.678, "us"),
        "toy_disk_read_stream": Figure(100.0, "MiB/s"),
        "linux_disk_read": Figure(128.0, "MiB/s"),
        "linux_disk_read_4k": Figure(50.0, "us"),
        "linux_round_trip": Figure(250.0, "us"),
    }


@pytest.mark.parametrize(
    "line",
    [
        "stream disk 4096",
        "each disk of 20",
        "each disk 20 failed: no such file",
        "ping net 21 packets transmitted, 0 packets received, 100% packet loss",
        "bench row 12",
        "rate row fast",
        "time row 1\ntime row 2",
    ],
)
def test_what_was_not_measured_is_an_error(line):
    with pytest.raises(ValueError, match="figure"):
        figures.read(line + "\n")


def row(xen, proxen, unit, name="row", part="part"):
    return Row(part, name, "virtual", Figure(xen, unit), Figure(proxen, unit))


def test_a_ratio_below_one_is_better_whatever_the_unit():
    assert row(100, 50, "us").ratio == 0.5
    assert row(100, 50, "MiB/s").ratio == 2.0
    assert row(50, 100, "MiB/s").ratio == 0.5


def test_rows_of_one_hypervisor_only_are_an_error():
    with pytest.raises(ValueError, match="b, c"):
        pair("p", "wall", {"a": Figure(1, "s"), "b": Figure(1, "s")}, {"c": 1, "a": 1})


def test_the_table_has_every_row_and_the_worst_comes_last():
    rows = [row(1, 2, "us", "bad"), row(4, 1, "us", "good"), row(1, 1, "s", "other", "second")]
    text = table(rows)
    assert text.index("good") < text.index("bad") < text.index("second:") < text.index("other")
    assert "geometric mean 0.71; 1 of 2 rows above 1.0" in text
    assert summary(rows) == "geometric mean 0.79; 1 of 3 rows above 1.0"


def test_json_has_all_that_the_table_shows(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULT", tmp_path / "bench.json")
    report.keep([row(100, 50, "MiB/s", "stream")])
    (kept,) = json.loads((tmp_path / "bench.json").read_text())
    expected = {"part": "part", "name": "stream", "unit": "MiB/s", "more_is_better": True}
    expected |= {"clock": "virtual", "xen": 100, "proxen": 50, "ratio": 2.0}
    assert expected.items() <= kept.items()


def test_a_difference_between_two_counts_is_told():
    one = operations.read("bench a 10 11\nbench b 20 20\n")
    other = operations.read("bench a 10 12\nbench c 5 5\n")
    assert operations.differences(one, one) == []
    assert len(operations.differences(one, other)) == 3


def test_the_reference_is_complete():
    assert len(operations.reference()) == 57
    assert operations.reference()["mmuext_pin_l1_512"] == Figure(105684, "instructions", 108773)


def test_deviations_from_the_reference_are_told():
    now = dict(operations.reference())
    (line,) = operations.against_reference(now)
    assert "57 of 57 rows, +0.0% in the mean, 0 off" in line
    now["cpuid_emulated"] = Figure(500, "instructions")
    del now["clts_emulated"]
    lines = operations.against_reference(now)
    assert "56 of 57 rows" in lines[0] and "1 off" in lines[0]
    assert lines[1:] == ["  cpuid_emulated: 384, now 500", "  clts_emulated: not measured"]


def test_the_kernels_own_clock_tells_how_long_it_booted():
    log = "[    0.000000] Linux version 6.1\n[   12.345678] Run /init as init process\nRun /init"
    assert services.boot_figure(log) == Figure(12345678.0, "us")
    with pytest.raises(MachineFailure, match="first process"):
        services.boot_figure("[    1.0] Kernel panic")


def test_the_cargo_ramdisk_has_our_first_process_last():
    """Linux unpacks one archive over the other."""
    archive = services.measuring_ramdisk()
    assert archive.startswith(DOMU.read_bytes())
    ours = archive[DOMU.stat().st_size :]
    assert (services.GUESTS / "init").read_bytes() in ours and len(ours) % 4 == 0
