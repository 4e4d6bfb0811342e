"""Names for backtraces out of files that mean no good."""

import struct

from dwarf.source import Frame
from xend import crash
from xend.symbolize import TEXT_MAX, clean, find_frames

from tests.toolstack import tiny_guest

OUTER = tiny_guest.CODE + 0x12
SECTION_HEADERS_AT, SIZE_AT, OFFSET_AT = 40, 32, 24


def write_kernel(tmp_path, change=lambda image: image):
    path = tmp_path / "kernel.elf"
    path.write_bytes(change(bytearray(tiny_guest.link(tiny_guest.CRASH_PARTS))))
    return str(path)


def with_section(image, number, data):
    """Give a section of an ELF file other contents."""
    (headers,) = struct.unpack_from("<Q", image, SECTION_HEADERS_AT)
    header = headers + 64 * number
    struct.pack_into("<QQ", image, header + OFFSET_AT, len(image), len(data))
    return image + data


def test_a_sound_file_gives_names(tmp_path):
    assert find_frames(write_kernel(tmp_path), [OUTER, 0x1000]) == {
        OUTER: [Frame("outer", 1, None, 0)],
        0x1000: [],
    }


def test_no_file_and_no_elf_file_give_none(tmp_path):
    assert find_frames(str(tmp_path / "nothing"), [OUTER]) == {}
    assert find_frames(write_kernel(tmp_path, lambda image: b"#!/bin/sh"), [OUTER]) == {}


def test_a_file_that_would_take_for_ever_costs_its_time_and_no_more(tmp_path):
    """Each of 100,000 symbols has a name of 8 MiB."""

    def blow_up(image):
        symbol = struct.pack("<IBBHQQ", 1, 0x12, 0, 3, tiny_guest.CODE, 0)
        return with_section(with_section(image, 1, symbol * 100_000), 2, b"\0" + b"A" * (8 << 20))

    assert find_frames(write_kernel(tmp_path, blow_up), [OUTER], cpu_s=1) == {}


def test_names_are_fit_for_a_terminal(tmp_path):
    def rename(image):
        at = image.index(b"\0outer\0") + 1
        image[at : at + 5] = b"\x1b[2J\n"
        return image

    (frame,) = find_frames(write_kernel(tmp_path, rename), [OUTER])[OUTER]
    assert frame.function == "?[2J?"
    assert clean("x" * 1000) == "x" * TEXT_MAX


def test_a_long_report_is_cut_on_the_console():
    frame = {"address": "0x1", "symbol": "f", "offset": 0, "inlined": False, "file": "", "line": 0}
    report = {"vcpus": [{"vcpu": n, "backtrace": [frame] * 32} for n in range(32)]}
    lines = crash.text(7, "big", report)
    assert len(lines) == crash.LINES_MAX + 1
    assert lines[-1] == "and so on; 'xm show big' has all of it"
