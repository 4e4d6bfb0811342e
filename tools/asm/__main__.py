"""`python -m asm FILE.asm -o FILE.o [--list]`: assemble one file; --list also prints offsets, bytes
and source.
"""

import argparse
import sys
from pathlib import Path

from asm.assembler import assemble, assemble_file
from asm.errors import AsmError


def listing(path: Path) -> str:
    """Offset, bytes and source line of every instruction."""
    text = path.read_text()
    source, assembler = text.splitlines(), assemble(text, str(path))
    rows = []
    for i, (section, offset, number) in enumerate(assembler.lines):
        after = next((o for s, o, _ in assembler.lines[i + 1 :] if s is section), section.size)
        code = bytes(section.data[offset:after])[:16].hex(" ")
        rows.append(
            f"{section.name:14} {offset:06x}  {code:<48} {number:4}  {source[number - 1].strip()}"
        )
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="asm", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("-o", dest="output", type=Path)
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    try:
        if arguments.list:
            print(listing(arguments.file))
        if arguments.output:
            arguments.output.parent.mkdir(parents=True, exist_ok=True)
            arguments.output.write_bytes(assemble_file(arguments.file))
    except AsmError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
