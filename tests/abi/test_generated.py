"""The generated bindings agree with each other, and the headers compile as C."""

import ctypes
from pathlib import Path

import pytest

from tests.c_compiler import compile_c

ROOT = Path(__file__).resolve().parents[2]
WARNINGS = ("-Wall", "-Wextra", "-Werror")


def test_kernel_python_and_ctypes_have_the_same_layout():
    import abi
    import xen_codecs
    from kpy.front.structs import StructType

    structs = {name: value for name, value in vars(abi).items() if isinstance(value, StructType)}
    assert len(structs) > 250
    for name, struct in structs.items():
        codec = getattr(xen_codecs, name)
        assert struct.size == ctypes.sizeof(codec), name
        for field in struct.fields.values():
            assert field.offset == getattr(codec, field.name).offset, f"{name}.{field.name}"


def test_constants_are_the_same():
    import abi
    import xen_codecs

    shared = [
        n for n, v in vars(xen_codecs).items() if isinstance(v, (int, str)) and n[:1].isalpha()
    ]
    assert len(shared) > 700
    assert all(getattr(abi, name) == getattr(xen_codecs, name) for name in shared)


@pytest.mark.parametrize("standard", ["c11", "gnu89"])
def test_headers_compile_alone_and_together(standard, tmp_path):
    headers = sorted((ROOT / "kernel" / "abi").rglob("*.h"))
    for chosen in ([header] for header in headers) if standard == "c11" else [headers]:
        source = tmp_path / "include.c"
        source.write_text("".join(f'#include "{header}"\n' for header in chosen))
        done = compile_c(f"-std={standard}", *WARNINGS, "-c", source, "-o", tmp_path / "include.o")
        assert done.returncode == 0, done.stderr


def test_generation_is_a_no_op_when_nothing_changed(tmp_path):
    from tools.abi.__main__ import generate

    assert generate(tmp_path)
    assert not generate(tmp_path)
