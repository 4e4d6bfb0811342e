"""Numbers to digits and back, comparison, the command line."""

import abi
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kpy import jit

from libos.text import Text

U64 = st.integers(0, 2**64 - 1)


@pytest.fixture(scope="module")
def program():
    return jit.load("libos.text", also=["libos.options", "libos.start_info"])


def written(text):
    return bytes(text.bytes[i] for i in range(text.length)).decode()


@given(value=U64, width=st.integers(0, 20), zeros=st.booleans(), base=st.sampled_from([10, 16]))
def test_numbers_are_formatted_as_python_does(program, value, width, zeros, base):
    text = program.new(Text)
    style = base | width << 16 | (0x200 if zeros else 0)
    program["libos.text.Text.put_number"](text, value, False, style)
    assert written(text) == format(value, f"{'0' if zeros else ''}{width or ''}{'dx'[base == 16]}")


def test_prefix_and_sign(program):
    text = program.new(Text)
    program["libos.text.Text.put_number"](text, 255, True, 16 | 0x100)
    assert written(text) == "-0xff"


def test_what_does_not_fit_is_dropped_and_finish_starts_anew(program):
    text = program.new(Text)
    for _ in range(3):
        program["libos.text.Text.put_text"](text, b"x" * 300)
    assert text.length == 512
    text.finished = True
    program["libos.text.Text.put_text"](text, b"new")
    assert written(text) == "new"


@given(value=st.integers(0, 2**60), tail=st.sampled_from([b"", b"\0", b" and more", b"x"]))
def test_numbers_are_parsed_up_to_the_first_other_character(program, value, tail):
    assert program.parse_number(str(value).encode() + tail, 10) == value
    assert program.parse_number(format(value, "o").encode() + tail, 8) == value


@given(a=st.binary(max_size=8), b=st.binary(max_size=8))
def test_comparison(program, a, b):
    assert program.same_text(a, b) == (a == b)
    assert program.same_text(a, a)


def test_options_are_words_of_the_command_line(program):
    info = program.new(abi.start_info)
    for i, byte in enumerate(b"quiet mode=random  seed=12 empty= x=y=z"):
        info.cmd_line[i] = byte
    program["libos.start_info.remember_start_info"](info)
    number = program["libos.options.option_number"]
    assert number(b"seed", 1) == 12
    assert number(b"rounds", 77) == 77
    assert number(b"quiet", 5) == 5
    assert number(b"empty", 6) == 6
    assert number(b"mod", 9) == 9
