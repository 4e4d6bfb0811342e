"""The same seed gives the same run to the last character, another seed another run."""

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.guests.test_guests import machine
from tools.image.build import build_image
from tools.qemu.config import command_line
from tools.qemu.hosts import default_kind
from tools.qemu.machine import Machine, MachineFailure
from tools.qemu.repeatable import repeatable
from tools.run import repeat
from tools.run.example import NOT_WRITTEN, WRITTEN
from tools.setup.paths import ROOT
from tools.setup.patience import PATIENCE_S

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(default_kind() != "proxen", reason="other hypervisors take no seed"),
]

CORE_ARGS = "dom0_mem=256M,max:256M dom0_max_vcpus=1 console=com1"
TURN = re.compile(r"^turn \d+: child (\d), (\d+) us", re.MULTILINE)
SLICE_US = 10_000
NOISE_US = 100  # of interrupts, and of noticing that one runs again


def spin(seed: int, core_args: str) -> str:
    """Run two domains that never rest on one processor, and a toy dom0 that made them.

    Returns: the console, up to power-off.
    """
    config = repeatable(machine("guest_interleave").config, seed)
    with Machine(replace(config, hypervisor_args=f"{CORE_ARGS} {core_args}")) as m:
        m.wait_for(r"guest: pass", PATIENCE_S)
        m.wait_for(r"^proxen: domain 0 halted: powering off", PATIENCE_S)
        return m.serial.text()


def turns_us(log: str) -> list[int]:
    """Return the lengths of the turns, which the two take one after the other."""
    found = [(int(child), int(us)) for child, us in TURN.findall(log)]
    first = found[0][0]
    assert [child for child, _ in found] == [(first + i) % 2 for i in range(len(found))]
    assert len(found) > 20
    return [us for _, us in found]


def test_each_seed_has_an_interleaving_of_its_own():
    first, again, other = (spin(seed, f"sched-seed={seed}") for seed in (1, 1, 2))
    assert first == again
    assert turns_us(first) != turns_us(other)
    lengths = set(turns_us(first) + turns_us(other))
    assert min(lengths) < SLICE_US * 3 // 4 and max(lengths) > SLICE_US * 5 // 4
    assert min(lengths) >= SLICE_US // 4 - NOISE_US


def test_without_a_seed_all_slices_are_equal():
    assert all(abs(us - SLICE_US) < NOISE_US for us in turns_us(spin(1, "")))


def test_the_folder_of_the_tree_plays_no_part():
    """Guests see the paths of what they boot from, and spend instructions on them."""
    config = repeat.example_machine("proxen", build_image(), seed=7)
    assert str(ROOT) not in " ".join(command_line(config, "tcg"))
    assert str(ROOT).encode() not in repeat.RAMDISK.read_bytes()


def console(code: int, sector: bytes) -> str:
    """Return what dom0 says at the end."""
    digest = hashlib.sha256(sector).hexdigest()
    return f"proxen: the domain ended with {code}\nproxen: last sector {digest}\n"


def test_the_verdict_is_the_domains_code_and_its_block(capsys):
    folder = ROOT / "build/run/x"
    assert repeat.verdict(console(0, WRITTEN), folder) == 0
    assert repeat.verdict(console(7, WRITTEN), folder) == 7
    assert repeat.verdict(console(0, bytes(512)), folder) == NOT_WRITTEN
    assert "not what the domain wrote" in capsys.readouterr().err
    with pytest.raises(MachineFailure, match="without a verdict"):
        repeat.verdict("[ 4.0] reboot: Power down\n", folder)


@pytest.mark.slow
def test_linux_and_a_domain_repeat_to_the_last_character():
    """Two whole runs at a time, so that the host gives neither what the other gets."""
    config = repeat.example_machine("proxen", build_image(), seed=7)
    with ThreadPoolExecutor() as pool:
        (log, first), (_, second) = pool.map(repeat.watch, [config, config])
    assert (first / "serial.log").read_bytes() == (second / "serial.log").read_bytes()
    assert repeat.verdict(log, first) == 0
    assert "readfile: wrote sector 2047" in log
