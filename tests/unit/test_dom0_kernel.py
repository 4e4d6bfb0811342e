"""Reading domain 0's kernel: the real one, and files that must be refused with a reason."""

import struct
from pathlib import Path

import pytest
from kpy import jit

from kernel.dom0.elf import KernelImage
from kernel.dom0.layout import Layout

VMLINUX = Path("build/image/vmlinux")


@pytest.fixture(scope="module")
def program():
    return jit.load("kernel.dom0.layout", replace={})


@pytest.fixture(scope="module")
def elf():
    return jit.load("kernel.dom0.elf", replace={})


def note(kind, content):
    return struct.pack("<III4s", 4, len(content), kind, b"Xen\0") + content.ljust(
        -len(content) % 4 + len(content), b"\0"
    )


def kernel(notes, machine=62, segments=((0x1000000, 0x1000, 0x3000),)):
    """Make a small ELF64 file with one PT_NOTE and some PT_LOAD headers."""
    body = b"".join(notes)
    count = 1 + len(segments)
    headers = 64 + 56 * count
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    fields = (2, machine, 1, 0x1000000, 64, 0, 0, 64, 56, count, 0, 0, 0)
    file = ident + struct.pack("<HHIQQQIHHHHHH", *fields)
    file += struct.pack("<IIQQQQQQ", 4, 4, headers, 0, 0, len(body), len(body), 4)
    for address, size, memory in segments:
        file += struct.pack("<IIQQQQQQ", 1, 7, 0, address, address, size, memory, 4096)
    return (file + body).ljust(8192, b"\0")


@pytest.mark.skipif(not VMLINUX.exists(), reason="build/image/vmlinux is not built")
def test_stock_linux(elf, program):
    """Debian's kernel: its notes, and that everything has a place."""
    image = elf.new(KernelImage)
    elf.read_kernel(VMLINUX.read_bytes(), image)
    assert image.virt_base == 0xFFFFFFFF80000000
    assert image.start == 0xFFFFFFFF81000000
    assert image.init_p2m == 0x8000000000
    assert image.mod_start_is_pfn
    layout = program.new(Layout)
    program.plan(layout, image, 262144, 5 << 20)
    assert layout.start_info == layout.kernel_end
    assert (
        layout.tables + layout.nr_tables * 4096 + 4096
        == layout.stack_end
        <= layout.end - (512 << 10)
    )
    assert layout.nr_p2m == 512
    assert layout.nr_p2m_tables == 3
    assert layout.end % (4 << 20) == 0


def test_no_mod_start_pfn(elf, program):
    """A kernel without wishes gets ramdisk and list mapped behind it, in the ABI's order."""
    image = elf.new(KernelImage)
    elf.read_kernel(kernel([note(3, struct.pack("<Q", 0)), note(8, b"generic\0")]), image)
    assert image.init_p2m is None
    layout = program.new(Layout)
    program.plan(layout, image, 8192, 10000)
    assert layout.kernel_end == 0x1003000 == layout.ramdisk
    assert layout.p2m == layout.ramdisk + 3 * 4096
    assert layout.start_info == layout.p2m + 16 * 4096
    assert layout.nr_p2m_tables == 0


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"\0" * 0x202 + b"HdrS" + b"\0" * 64, "bzImage"),
        (b"#!/bin/sh\n" * 20, "not an ELF file"),
        (b"\x7fELF\x01".ljust(128, b"\0"), "64-bit"),
        (kernel([note(3, b"\0" * 8)], machine=3), "64-bit"),
        (kernel([]), "no Xen ELF notes"),
        (kernel([note(3, b"\0" * 8)])[:100], "cut short"),
        (kernel([note(3, b"\0" * 8)], segments=()), "nothing to load"),
    ],
)
def test_refused(elf, file, reason):
    with pytest.raises(jit.KpyPanic, match=reason):
        elf.read_kernel(file, elf.new(KernelImage))
