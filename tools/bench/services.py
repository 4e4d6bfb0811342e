"""What a domain gets through dom0: its creation, its disk, its network, for a toy kernel and Linux.

dom0, the hypervisor and the domain share one processor that counts instructions, and no device of
the host takes part: the disk is a file in dom0's memory, the network ends at dom0's bridge. So a
nanosecond is an instruction (or a wait for a timer), and how busy the host is does not matter.
"""

import io
import re
import tarfile
from pathlib import Path

from tools.bench import figures
from tools.bench.figures import Figure
from tools.image.build import build_image
from tools.image.cpio import Cpio
from tools.image.ramdisk import DOMU
from tools.qemu.config import COUNTING, FIXED_CLOCK, Config, Disk
from tools.qemu.hosts import READY, dom0_machine
from tools.qemu.machine import Machine, MachineFailure
from tools.setup.paths import BUILD
from tools.setup.patience import PATIENCE_S
from tools.setup.progress import step

PARTS = ("create", "disk", "network")
BOOT = "boot, counted"  # comes along with whatever is measured
FIRST_PROCESS = re.compile(r"^\[ *([\d.]+)\] Run /init as init process", re.MULTILINE)
GUESTS = Path(__file__).with_name("guests")
KERNELS = ("echo.elf", "bench_devices.elf")
CARGO = BUILD / "bench/cargo.tar"
PLACE = "/run/bench"  # in dom0, in memory
ONE_CPU = "dom0_mem=1024M,max:1024M dom0_max_vcpus=1 console=com1 com1=115200"


def measure(kind: str, parts: tuple[str, ...]) -> dict[str, dict[str, Figure]]:
    """Boot dom0 on a kind of hypervisor and have it measure the parts.

    Returns: the figures of each part, and of BOOT.
    Errors: MachineFailure, something did not work or come to an end.
    """
    found = {}
    with Machine(machine(kind)) as running:
        with step(f"boot dom0 on {kind}"):
            running.wait_for(READY, PATIENCE_S)
            found[BOOT] = {"dom0_kernel_to_first_process": boot_figure(running.serial.text())}
            unpack = f"mkdir {PLACE} && tar -C {PLACE} -xf /dev/vdc"
            running.shell.check(unpack, PATIENCE_S)
        for part in parts:
            with step(f"measure {part} on {kind}"):
                found[part] = measure_part(running, part)
    return found


def boot_figure(log: str) -> Figure:
    """Return how long dom0's kernel needed by its own clock, from its messages."""
    found = FIRST_PROCESS.search(log)
    if found is None:
        raise MachineFailure("dom0's kernel did not say when it ran its first process")
    return Figure(float(found[1]) * 1e6, "us")


def measure_part(running: Machine, part: str) -> dict[str, Figure]:
    """Run dom0's measuring script for a part."""
    command = f"PYTHONPATH=/opt/proxen python3 {PLACE}/measure.py {part}"
    result = running.shell.run(command, PATIENCE_S)
    (running.folder / f"{part}.txt").write_text(result.output)
    if result.status:
        raise MachineFailure(f"measuring {part} failed in dom0:\n{result.output}")
    return figures.read(result.output)


def machine(kind: str) -> Config:
    """Return a machine that counts instructions and has our cargo as its third disk."""
    image = build_image()
    pack()
    return dom0_machine(
        kind,
        f"bench-services-{kind}",
        image,
        hypervisor_args=ONE_CPU,
        cpus=1,
        disks=(Disk(CARGO),),
        icount=COUNTING,
        extra=FIXED_CLOCK,
    )


def pack() -> None:
    """Write the cargo: scripts, kernels, and a Linux ramdisk whose first process measures."""
    CARGO.parent.mkdir(exist_ok=True)
    with tarfile.open(CARGO, "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(GUESTS / "measure.py", "measure.py")
        for kernel in KERNELS:
            tar.add(BUILD / kernel, kernel)
        ramdisk = measuring_ramdisk()
        entry = tarfile.TarInfo("initramfs")
        entry.size = len(ramdisk)
        tar.addfile(entry, io.BytesIO(ramdisk))


def measuring_ramdisk() -> bytes:
    """Return the Linux domU's ramdisk with our init: Linux unpacks one archive over the other."""
    ours = Cpio()
    ours.file("init", (GUESTS / "init").read_bytes(), 0o755)
    return DOMU.read_bytes() + ours.bytes()
