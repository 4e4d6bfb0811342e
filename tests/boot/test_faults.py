"""What QEMU's processor does wrong is found by running it, and remembered for that QEMU."""

import pytest

from tools.qemu import faults
from tools.qemu.config import Config
from tools.qemu.faults import Faults, worked_around


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """An empty cache, and how often QEMU was asked."""
    monkeypatch.setattr(faults, "CACHE", tmp_path)
    monkeypatch.setattr(faults, "probe", lambda accelerator: times.append(1) or "iret=B int=G\n")
    times = []
    return times


def test_the_installed_qemu_tells_its_faults():
    said = faults.probe("tcg")
    assert faults._judge(said) is not None, said


def test_a_processor_without_smap_has_no_fault_of_iret():
    """So the work-around helps, on whichever QEMU."""
    assert faults.probe("tcg", "max,smap=off").startswith("iret=G ")


def test_an_answer_is_kept(asked, capsys):
    assert faults.known_faults() is None
    assert faults.faults() == Faults(iret=True, int_n=False) == faults.known_faults()
    assert "so machines have no SMAP" in capsys.readouterr().err
    assert faults.faults().iret and len(asked) == 1
    assert capsys.readouterr().err == ""


def test_another_qemu_is_asked_anew(asked, monkeypatch, tmp_path):
    for number, contents in enumerate(("one", "two", "one")):
        (tmp_path / str(number)).mkdir()
        program = tmp_path / str(number) / "qemu"
        program.write_text(contents)
        monkeypatch.setattr(faults.shutil, "which", lambda name, found=program: str(found))
        assert faults.faults().iret
    assert len(asked) == 2, "the contents count, not the place"


def test_a_qemu_that_runs_nothing_is_a_sentence(asked, monkeypatch):
    monkeypatch.setattr(faults, "probe", lambda accelerator: "could not load library\n")
    with pytest.raises(SystemExit, match="small kernel; it says: could not load library$"):
        faults.faults()


@pytest.mark.parametrize(
    ("accelerator", "iret", "cpu"),
    [("tcg", True, "max,smap=off"), ("tcg", False, "max"), ("kvm", True, "max")],
)
def test_only_a_faulty_processor_loses_smap(monkeypatch, accelerator, iret, cpu):
    monkeypatch.setattr(faults, "faults", lambda: Faults(iret=iret, int_n=False))
    assert worked_around(Config("t", faults.SOURCE), accelerator).cpu == cpu


def test_who_counts_instructions_has_no_x2apic(monkeypatch):
    monkeypatch.setattr(faults, "faults", lambda: Faults(iret=False, int_n=False))
    counting = Config("t", faults.SOURCE, icount="shift=0,sleep=off")
    assert worked_around(counting, "tcg").cpu == "max,x2apic=off"
