"""Rebuild by content: a product is fresh while the fingerprint of all its inputs is unchanged.

Times are no evidence: git checkouts touch files, and a fresh clone of the same commit should find
the same fingerprint.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def fingerprint(*parts: str | bytes | Path | Iterable[Path]) -> str:
    """Hash strings, files and trees into one hex digest.

    Args: parts, a path means the contents of the file, or of all files below the folder.
    """
    digest = hashlib.sha256()
    for part in parts:
        for item in _items(part):
            digest.update(len(item).to_bytes(8, "little") + item)
    return digest.hexdigest()


def _items(part: str | bytes | Path | Iterable[Path]) -> Iterable[bytes]:
    if isinstance(part, str):
        yield part.encode()
    elif isinstance(part, bytes):
        yield part
    elif isinstance(part, Path):
        yield from _tree(part)
    else:
        for path in part:
            yield from _tree(path)


def _tree(path: Path) -> Iterable[bytes]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        if file.is_file() and "__pycache__" not in file.parts:
            relative = file.relative_to(path) if file != path else file.name
            yield str(relative).encode()
            yield oct(file.stat().st_mode & 0o111).encode()
            yield file.read_bytes()


class Stamp:
    """The recorded fingerprint of one product (or of several made together)."""

    def __init__(self, file: Path, *products: Path) -> None:
        self.file = file
        self.products = products

    def fresh(self, digest: str) -> bool:
        """Tell whether the products exist and were made from inputs with this digest."""
        made = self.file.exists() and self.file.read_text() == digest
        return made and all(product.exists() for product in self.products)

    def record(self, digest: str) -> None:
        """Remember what the products were made from. Call last: a failed build leaves no stamp."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(digest)

    def forget(self) -> None:
        """Drop the record before rebuilding: an interrupted build must not be taken for fresh."""
        self.file.unlink(missing_ok=True)
