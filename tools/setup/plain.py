"""What the system refuses, such as a full disk, said in a sentence in place of a traceback."""

import contextlib
import errno
from collections.abc import Iterator

from tools.setup.paths import ROOT
from tools.setup.progress import fail

SENTENCES = {
    errno.EROFS: "the file system is read-only; clone the tree to a folder that can be written",
    errno.EACCES: "that is not allowed to you; perhaps another user built here, see `ls -l build`",
    errno.EPERM: "that is not allowed to you; perhaps another user built here, see `ls -l build`",
    errno.ENOSPC: "the disk is full; make room, or clone the tree to another disk",
    errno.EDQUOT: "your share of the disk is used up; make room",
}


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what the system refuses into an exit. Errors: SystemExit with one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno not in SENTENCES:
            raise
        where = f"cannot write {error.filename}" if error.filename else f"cannot go on in {ROOT}"
        raise fail(f"{where}: {SENTENCES[error.errno]}") from None
