"""Every answer is the one that real Xen 4.17 gives, or is in differences.txt with its reason."""

import pytest

from tools.compare.allowed import read_allowed, sort_out
from tools.compare.boot import recorded, transcript_of
from tools.compare.transcript import differences
from tools.setup.paths import REAL_XEN

pytestmark = pytest.mark.boot


@pytest.fixture(scope="module")
def proxen():
    return transcript_of("proxen")


def check(xen, proxen):
    unexplained, _, stale = sort_out(differences(xen, proxen), read_allowed())
    assert not unexplained, "\n".join(map(str, unexplained))
    assert not stale, "\n".join(f"{a.name} doesn't differ any more" for a in stale)


def test_answers_are_those_that_xen_gave(proxen):
    """The recorded transcript."""
    check(recorded(), proxen)


@pytest.mark.skipif(not REAL_XEN.exists(), reason="real Xen is not installed here")
@pytest.mark.real_xen
def test_answers_are_those_that_xen_gives(proxen):
    """The recorded transcript is still true."""
    check(transcript_of("xen"), proxen)
