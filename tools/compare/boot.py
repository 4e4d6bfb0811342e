"""Boots the probing guest as dom0's kernel and takes its transcript down."""

from pathlib import Path

from tools.compare.transcript import answers, as_text
from tools.qemu.config import Config
from tools.qemu.hosts import hypervisor
from tools.qemu.machine import Machine
from tools.setup.paths import BUILD, ROOT
from tools.setup.patience import PATIENCE_S

GUEST = BUILD / "guest_probes.elf"
KEPT = BUILD / "compare"
RECORDED = ROOT / "tests/guests/kernels/probes/xen-4.17.txt"
ARGS = "dom0_mem=256M,max:256M dom0_max_vcpus=1 console=com1 com1=115200"


def machine(kind: str) -> Config:
    """Return the profile: the same for both hypervisors, no device but the console."""
    return Config(
        name=f"compare-{kind}",
        kernel=GUEST,
        kernel_args="",
        hypervisor=hypervisor(kind),
        hypervisor_args=ARGS,
        nic=None,
    )


def transcript_of(kind: str) -> dict[str, str]:
    """Boot on one hypervisor; the transcript is kept in build/compare/.

    Errors: MachineFailure, the guest did not come to its end.
    """
    with Machine(machine(kind)) as running:
        try:
            running.wait_for(r"^probes done", PATIENCE_S)
        finally:
            found = answers(running.serial.text())
            kept_path(kind).parent.mkdir(exist_ok=True)
            kept_path(kind).write_text(as_text(found))
    return found


def kept_path(kind: str) -> Path:
    """Return where the transcript of a hypervisor is kept."""
    return KEPT / f"{kind}.txt"


def recorded() -> dict[str, str]:
    """Return what real Xen 4.17 said when the transcript was last recorded."""
    return answers(RECORDED.read_text())
