"""Every size, offset and constant of kernel/abi against Debian's libxen-dev."""

import re
from pathlib import Path

import pytest

from tests.abi.c_compare import answers, libxen_headers, questions
from tools.abi.parse import parse_headers

ROOT = Path(__file__).resolve().parents[2]
# What libxen-dev does not tell, or hides behind __XEN__; each with its reason.
EXPLAINED = {
    r"XEN_EINTR|XEN_ERESTART": "libxen-dev shows them to the hypervisor only",
    r"TRC_PROXEN_\w+": "events of our own, in numbers that Xen leaves free",
    r"(offset|size) xenpf_set_processor_pminfo\.u\.states": "room for what the core does not read",
    r"(sizeof|offset|size) e820entry.*|E820_\w+": "from ACPI; libxen-dev has no e820 entry",
}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    asked = questions(parse_headers(ROOT / "kernel" / "abi"))
    try:
        headers = libxen_headers(tmp_path_factory.mktemp("libxen"))
    except SystemExit as error:
        pytest.skip(str(error))
    theirs, unknown = answers(asked, headers, tmp_path_factory.mktemp("abi"))
    return asked, theirs, unknown


def test_all_values_agree(comparison):
    asked, theirs, _ = comparison
    wrong = [
        f"{key}: ours {asked[key][1]}, theirs {value}"
        for key, value in theirs.items()
        if key in asked and not same(asked[key][1], value)
    ]
    assert not wrong, "\n".join(wrong)


def test_much_is_compared(comparison):
    assert len(comparison[1]) > 2000


def test_unknown_names_are_explained(comparison):
    _, _, unknown = comparison
    unexplained = [
        key for key in unknown if not any(re.fullmatch(pattern, key) for pattern in EXPLAINED)
    ]
    assert not unexplained, "\n".join(unexplained)


def same(ours: int | str, theirs: int | str) -> bool:
    """C prints as signed 64-bit; ours may be the same bits as unsigned."""
    if isinstance(ours, str):
        return ours == theirs
    return (ours - theirs) % (1 << 64) == 0
