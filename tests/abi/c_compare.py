"""Ask a C compiler what another set of headers says about everything that our model defines."""

import re
from pathlib import Path

from dwarf.image import Image

from tests.c_compiler import compile_c
from tools.abi.model import Abi, Array, Record
from tools.image import packages
from tools.image.unpack import unpack

LIBXEN_HEADERS = (
    "errno",
    "version",
    "xen",
    "event_channel",
    "grant_table",
    "memory",
    "sched",
    "vcpu",
    "callback",
    "physdev",
    "nmi",
    "pmu",
    "elfnote",
    "platform",
    "arch-x86/xen-mca",
    "domctl",
    "sysctl",
    "trace",
    "hvm/e820",
    "hvm/hvm_op",
    "hvm/params",
    "io/console",
    "io/xenbus",
    "io/xs_wire",
    "io/protocols",
    "io/blkif",
    "io/netif",
)


def questions(abi: Abi) -> dict[str, tuple[str, int | str]]:
    """key -> (C expression, what we say): sizes, offsets and sizes of all fields, constants."""
    found: dict[str, tuple[str, int | str]] = {}
    for record in abi.records:
        if record.c_name:
            found[f"sizeof {record.name}"] = (f"sizeof({record.c_name})", record.size)
            field_questions(found, record, record, "", 0)
    for constant in abi.constants:
        found[constant.name] = (constant.name, constant.value)
    return found


def field_questions(found: dict, top: Record, record: Record, path: str, base: int) -> None:
    """The fields of `record`, and of the records without a C name below it."""
    for field in record.fields:
        name = f"{path}{field.name}"
        found[f"offset {top.name}.{name}"] = (
            f"offsetof({top.c_name}, {name})",
            base + field.offset,
        )
        flexible = isinstance(field.type, Array) and field.type.count == 0
        if not flexible:
            size = f"sizeof((({top.c_name} *)0)->{name})"
            found[f"size {top.name}.{name}"] = (size, field.type.size)
        if isinstance(field.type, Record) and field.type.c_name is None:
            field_questions(found, top, field.type, name + ".", base + field.offset)


def program(asked: dict[str, tuple[str, int | str]]) -> str:
    """A C file, a line for each question, whose object holds the answers: nothing needs to run."""
    lines = ["#include <stddef.h>", "#include <stdint.h>"]
    lines += [f"#include <xen/{header}.h>" for header in LIBXEN_HEADERS]
    for number, (expression, value) in enumerate(asked.values()):
        section = f'__attribute__((used, section("s{number}")))'
        if isinstance(value, str):
            lines.append(f"{section} const char a{number}[] = {expression};")
        else:
            lines.append(f"{section} const long long a{number} = (long long)({expression});")
    return "\n".join([*lines, ""])


def libxen_headers(directory: Path) -> Path:
    """Return the folder of Debian's headers of Xen 4.17, whatever the host has installed.

    Errors: SystemExit, they are not in the cache, and cannot be fetched.
    """
    (deb,) = packages.xen_headers().files
    unpack(deb, directory, lambda path: path.parts[:3] == ("usr", "include", "xen"))
    return directory / "usr/include"


def answers(asked: dict, headers: Path, directory: Path) -> tuple[dict[str, int | str], list[str]]:
    """What the other headers say, and the keys that they do not know."""
    asked, unknown = dict(asked), []
    flags = ["-I", headers, "-D__XEN_TOOLS__", "-Wno-pedantic", "-ferror-limit=0", "-w", "-c"]
    source, made = directory / "compare.c", directory / "compare.o"
    while True:
        source.write_text(program(asked))
        first = len(LIBXEN_HEADERS) + 3
        run = compile_c(*flags, source, "-o", made)
        if run.returncode == 0:
            break
        numbers = {int(n) for n in re.findall(r"compare\.c:(\d+):\d+: error", run.stderr)}
        keys = list(asked)
        missing = [keys[n - first] for n in sorted(numbers) if 0 <= n - first < len(keys)]
        if not missing:
            raise RuntimeError(run.stderr)
        unknown += missing
        for key in missing:
            del asked[key]
    return answers_of(Image(made), asked), unknown


def answers_of(made: Image, asked: dict) -> dict[str, int | str]:
    """Read the answers from the object."""
    found: dict[str, int | str] = {}
    for number, (key, (_, value)) in enumerate(asked.items()):
        data = bytes(made.section(f"s{number}"))
        is_text = isinstance(value, str)
        found[key] = data.rstrip(b"\0").decode() if is_text else int.from_bytes(data, "little")
    return found
