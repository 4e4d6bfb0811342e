"""Reading what the core drew: pixels back to text, by its own font."""

from kernel.console.font import FIRST, GLYPH_HEIGHT, GLYPH_WIDTH, SHAPES

LETTERS = {bytes.fromhex(shape): chr(FIRST + i) for i, shape in enumerate(SHAPES.split())}


def read_text(is_lit, width, height):
    """Return the lines on a screen of pixels, `?` for what is no glyph.

    Args: is_lit(x, y), whether a pixel is not black.
    """
    return [
        "".join(_letter(is_lit, x, y) for x in range(0, width - GLYPH_WIDTH + 1, GLYPH_WIDTH))
        for y in range(0, height - GLYPH_HEIGHT + 1, GLYPH_HEIGHT)
    ]


def _letter(is_lit, left, top):
    lines = (
        sum(is_lit(left + i, top + line) << (7 - i) for i in range(GLYPH_WIDTH))
        for line in range(GLYPH_HEIGHT)
    )
    return LETTERS.get(bytes(lines), "?")


def read_ppm(path):
    """Return the lines on a picture of a whole screen, as QEMU writes it."""
    magic, size, _, pixels = path.read_bytes().split(b"\n", 3)
    assert magic == b"P6"
    width, height = map(int, size.split())

    def is_lit(x, y):
        place = (y * width + x) * 3
        return pixels[place : place + 3] != b"\0\0\0"

    return read_text(is_lit, width, height)
