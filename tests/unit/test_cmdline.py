"""The core's command line: options, lists, sizes."""

import pytest
from kpy import jit


@pytest.fixture(scope="module")
def program():
    return jit.load("kernel.base.cmdline")


@pytest.fixture
def parsed(program):
    def parse(text):
        program.set_command_line(text.encode())
        return program

    return parse


def text_of(view):
    return bytes(view[i] for i in range(len(view))).decode()


def test_the_image_name_is_left_out(parsed):
    line = parsed("build/proxen.bin dom0_mem=1G")
    assert not line.has_option(b"build/proxen.bin")
    assert line.has_option(b"dom0_mem")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("x a=1", "1"),
        ("x a=1 a=2", "2"),
        ("x a", ""),
        ("x b=a=3", ""),
        ("x  a=1=2 ", "1=2"),
        ("x", ""),
    ],
)
def test_the_last_option_counts(parsed, line, value):
    assert text_of(parsed(line).option(b"a")) == value


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("x", True),
        ("x console=com1", True),
        ("x console=vga", False),
        ("x console=vga,com1", True),
        ("x console=com12", False),
        ("x console=", False),
    ],
)
def test_list_options(parsed, line, found):
    assert parsed(line).option_list_has(b"console", b"com1") is found


@pytest.mark.parametrize(
    ("size", "bytes_"),
    [
        ("512M", 512 << 20),
        ("2g", 2 << 30),
        ("64k", 65536),
        ("17B", 17),
        ("4", 4096),
        ("M", 7),
        ("3T", 7),
    ],
)
def test_sizes(program, size, bytes_):
    assert program.parse_size(size.encode(), 7) == bytes_


def test_huge_numbers_do_not_panic(parsed):
    parsed("x n=" + "9" * 40).option_number(b"n", 1)
