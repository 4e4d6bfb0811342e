"""What a run has found so far, in build/mutation, while the tree is the same: so a run that was
stopped goes on where it was.
"""

import hashlib
from pathlib import Path

from tools.setup.paths import BUILD, ROOT

FOLDER = BUILD / "mutation"
TREE = FOLDER / "tree"
READ = ("kernel", "tests/mutation", "tests/model", "tests/unit", "tools/kpy")


def folder() -> Path:
    """Return the folder, empty unless an earlier run of the same tree was stopped."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    now = fingerprint()
    if not TREE.exists() or TREE.read_text() != now:
        forget()
        TREE.write_text(now)
    return FOLDER


def forget() -> None:
    """Let the next run begin anew."""
    for path in FOLDER.iterdir():
        path.unlink()


def fingerprint() -> str:
    """Return a hash of all that decides a run's result."""
    digest = hashlib.sha256()
    for folder_name in READ:
        for path in sorted((ROOT / folder_name).rglob("*")):
            if path.suffix in (".py", ".h"):
                digest.update(f"{path}\n".encode() + path.read_bytes())
    return digest.hexdigest()
