"""Formatters."""

PRINTER = """
out = static(Array[u8, 4096])
used = static(u64)
def write_str(text: Slice[u8]) -> None:
    global used
    for c in text:
        out[used] = c
        used += 1
def write_int(value: u64, negative: bool, style: u32) -> None:
    write_str("<")
    if negative:
        write_str("-")
    digits(value)
    write_str(":")
    digits(u64(style))
    write_str(">")
def digits(value: u64) -> None:
    scale: u64 = 1
    while scale <= value // 10:
        scale *= 10
    while scale:
        write_str("0123456789"[value // scale % 10 : value // scale % 10 + 1])
        scale //= 10
def end() -> None:
    write_str("\\n")
@formatter(write_str, write_int, end)
def printk(text): ...
@enum(u8)
class Color:
    RED = 1
    GREEN = 2
Mfn = newtype("Mfn", u64)
"""


def test_formatting(jit):
    p = jit(
        PRINTER
        + """
def show(a: u8, b: i32, c: Color, d: bool, m: Mfn, s: Slice[u8]) -> None:
    printk(f"a={a} b={b:5d} c={c}")
    printk(f"{d} {m:#x} {m:016x} {s}!")
    printk("plain")
    printk(f"{a + 1} {u8(c)}")
"""
    )
    p.show(200, -7, 2, True, 16, b"text")
    text = bytes(p.out)[: p.used.value].decode()
    lines = text.splitlines()
    assert lines[0] == f"a=<200:10> b=<-7:{10 | 5 << 16}> c=GREEN"
    assert lines[1] == f"True <16:{16 | 0x100}> <16:{16 | 0x200 | 16 << 16}> text!"
    assert lines[2:] == ["plain", "<201:10> <2:10>"]


def test_most_negative_number(jit):
    p = jit(
        PRINTER
        + """
def show(x: i64) -> None:
    printk(f"{x}")
"""
    )
    p.show(-(1 << 63))
    assert bytes(p.out)[: p.used.value] == b"<-9223372036854775808:10>\n"


def test_errors(errors):
    shown = errors(
        PRINTER
        + """
@struct
class S:
    x: u64
def show(x: u64, s: Ptr[S]) -> None:
    printk(f"{x!r}")
    printk(f"{x:.3}")
    printk(f"{s.x:z}")
    printk(x, x)
    y = f"{x}"
    printk(f"{load(s)}")
"""
    )
    assert "knows no `!r`" in shown
    assert "unknown format `.3`" in shown
    assert "takes one f-string" in shown
    assert "argument of a formatter" in shown
    assert "cannot print `S`" in shown
