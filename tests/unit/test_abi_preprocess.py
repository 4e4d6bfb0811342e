"""The small C preprocessor of tools/abi."""

import pytest

from tools.abi.parse import parse_headers
from tools.abi.preprocess import HeaderError, Preprocessor, macro_arguments


def expand(tmp_path, text):
    header = tmp_path / "test.h"
    header.write_text(text)
    preprocessor = Preprocessor(tmp_path)
    preprocessor.include(header)
    return " ".join(line for line in preprocessor.lines if not line.startswith("#"))


def test_macros_paste_names(tmp_path):
    text = "#define PAIR(n, t) struct n##_pair { t a; }\nPAIR(my, int);\n"
    assert expand(tmp_path, text) == "struct my_pair { int a; };"


def test_guards_and_else(tmp_path):
    text = "#define A 1\n#ifndef A\nint x;\n#else\nint y[A];\n#endif\n"
    assert expand(tmp_path, text) == "int y[1];"


def test_arguments_may_nest():
    assert macro_arguments("F(a, g(b, c))", 1) == (["a", "g(b, c)"], 13)


@pytest.mark.parametrize("text", ["#if X > 1\n#endif\n", "#pragma once\n", "#define A A B\nA\n"])
def test_refusals(tmp_path, text):
    with pytest.raises(HeaderError):
        expand(tmp_path, text)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("~0U", 0xFFFFFFFF),
        ("(uint32_t)~0 << 16", 0xFFFF0000),
        ("(-12)", -12),
        ("1ULL << 63", 1 << 63),
        ("((1 << 17) - 1)", 0x1FFFF),
    ],
)
def test_constants_are_evaluated_as_c_does(tmp_path, expression, value):
    (tmp_path / "c.h").write_text(f"#define X {expression}\n")
    assert [c.value for c in parse_headers(tmp_path).constants] == [value]


def test_records_are_laid_out_as_c_does(tmp_path):
    (tmp_path / "r.h").write_text(
        "struct r { char a; union { long b; int c; } u; short d[3]; struct { char e; } v; };\n"
    )
    record = parse_headers(tmp_path).records[-1]
    assert [(f.name, f.offset) for f in record.fields] == [("a", 0), ("u", 8), ("d", 16), ("v", 22)]
    assert record.size == 24
