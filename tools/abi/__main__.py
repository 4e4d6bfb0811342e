"""`python -m tools.abi [--force]`: bring build/gen up to date with kernel/abi. A no-op when nothing
changed.

This directory has no __init__.py: so `import abi` finds the generated module, build/gen/abi.py.
"""

import hashlib
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADERS = ROOT / "kernel" / "abi"
OUTPUT = ROOT / "build" / "gen"
PRODUCTS = ("abi.py", "xen_codecs.py", "include/xen/xen.h")


def digest() -> str:
    """A hash of all that the output depends on."""
    sha = hashlib.sha256()
    for path in sorted([*HEADERS.rglob("*.h"), *Path(__file__).parent.glob("*.py")]):
        sha.update(f"{path}\0".encode() + path.read_bytes())
    return sha.hexdigest()


def write_if_changed(path: Path, text: str) -> None:
    """Keep the time stamp, and so all that is built from it, when the text is the same."""
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".new")
        scratch.write_text(text)
        scratch.replace(path)


def generate(output: Path = OUTPUT) -> bool:
    """Write all products below `output`; False when they were up to date."""
    stamp, now = output / "abi.stamp", digest()
    fresh = stamp.exists() and stamp.read_text() == now
    if fresh and all((output / product).exists() for product in PRODUCTS):
        return False
    from tools.abi import emit_ctypes, emit_kpy, parse

    abi = parse.parse_headers(HEADERS)
    write_if_changed(output / "abi.py", emit_kpy.emit(abi))
    write_if_changed(output / "xen_codecs.py", emit_ctypes.emit(abi))
    shutil.copytree(HEADERS, output / "include" / "xen", dirs_exist_ok=True)
    stamp.write_text(now)
    return True


def main() -> int:
    from tools.abi.preprocess import HeaderError

    if "--force" in sys.argv:
        (OUTPUT / "abi.stamp").unlink(missing_ok=True)
    try:
        changed = generate()
    except HeaderError as error:
        print(f"abi: {error}", file=sys.stderr)
        return 1
    print(f"abi: build/gen {'written' if changed else 'is up to date'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
