"""Test kernels as unprivileged domains: the self-test, and guests that mean harm."""

import pytest

from tests.guests.domu import Domains, disk_image

TEXT = b"A text on a disk.\nIts second line ends it.\n"
END_S = 40
DEATHS = ("fault", "stack", "iret", "callback", "jump", "cr3", "syscall", "nonsense")
DEATHS += ("pinned", "granted", "ports", "disk", "spin")
NEVER_END = {"spin"}


@pytest.fixture
def domains(host):
    return Domains(host)


@pytest.fixture
def xvda(domains, tmp_path):
    """A disk for a domain, with a text on it."""
    image = disk_image(tmp_path / "disk.img", TEXT)
    return {"target": domains.upload(image), "vdev": "xvda"}


@pytest.mark.parametrize("kernel", ["guest_selftest", "guest_errors"])
def test_verdict_as_domu(domains, kernel):
    domains.create(kernel, kernel, memory=64)
    try:
        record = domains.wait_end(kernel, END_S)
        console = domains.console(kernel)
    finally:
        domains.destroy(kernel)
    assert record is not None and record["exit"]["code"] == 0, console


@pytest.mark.parametrize("mode", DEATHS)
def test_death_harms_nobody_else(domains, dom0, xvda, mode):
    """However a guest dies, dom0 lives on and every page comes back."""
    before = domains.free_pages()
    domains.create(f"dies-{mode}", "guest_hostile", memory=32, disks=[xvda], cmdline=f"mode={mode}")
    try:
        record = domains.wait_end(f"dies-{mode}", 3 if mode in NEVER_END else END_S)
    finally:
        domains.destroy(f"dies-{mode}")
    assert (record is None) == (mode in NEVER_END)
    assert dom0.check("echo alive") == "alive"
    assert domains.free_pages(at_least=before) >= before


@pytest.mark.parametrize("seed", range(1, 9))
def test_random_hypercalls_harm_nobody_else(domains, dom0, seed):
    before = domains.free_pages()
    name, line = f"random-{seed}", f"mode=random seed={seed} rounds=20000"
    domains.create(name, "guest_hostile", memory=32, cmdline=line)
    try:
        domains.wait_end(name, 15)
    finally:
        domains.destroy(name)
    assert dom0.check("echo alive") == "alive"
    assert domains.free_pages(at_least=before) >= before
