"""What a machine consists of, and the QEMU command line that this means.

The defaults are the machine profile of the whole project. What a QEMU does wrong is found by a
probe, and faults.py gives a machine that does not meet it.
"""

from dataclasses import dataclass, field
from pathlib import Path

from tools.qemu.hardware import NICS, disk_words, memory_words
from tools.qemu.medium import Medium

XEND_PORT = 8000
DOM0_ADDRESS = "10.0.2.15"
KEYBOARD = "usb-kbd,bus=keys.0"
DOM0_MEMORY = "dom0_mem=1024M,max:1024M"
# A tick of the clock is an instruction, idle time is jumped over, time begins on a fixed day.
COUNTING = "shift=0,sleep=off"
FIXED_CLOCK = ("-rtc", "base=2026-01-01T00:00:00,clock=vm")


@dataclass(frozen=True)
class Disk:
    """A raw disk image; what a guest writes to a scratch disk is gone when the machine stops."""

    image: Path
    scratch: bool = True


@dataclass(frozen=True)
class Config:
    """A machine to be. `hypervisor` is the multiboot image under `kernel`; None: no hypervisor."""

    name: str
    kernel: Path
    initramfs: Path | None = None
    hypervisor: Path | None = None
    kernel_args: str = "console=hvc0 earlyprintk=xen"
    hypervisor_args: str = ""
    disks: tuple[Disk, ...] = ()
    disk_bus: str = "virtio"
    nic: str | None = "virtio"
    usb_keyboard: bool = False
    memory: str = "3G"
    cpus: int = 2
    cpu: str = "max"
    icount: str | None = None
    gdb: bool = False
    detached: bool = False
    medium: Medium | None = None  # boots in place of `kernel`
    extra: tuple[str, ...] = field(default=())


def hypervisor_args(kind: str, dom0_vcpus: int = 2) -> str:
    """Return the arguments of a kind of hypervisor that runs dom0."""
    common = f"{DOM0_MEMORY} dom0_max_vcpus={dom0_vcpus} console=com1"
    of_xen = f"{common} com1=115200 loglvl=all guest_loglvl=all"
    return {"proxen": common, "linux": ""}.get(kind, of_xen)


def command_line(config: Config, accelerator: str) -> list[str]:
    """Return the QEMU command for a machine; all files that it names are in its run folder."""
    chipset, screen = (config.medium.chipset, "std") if config.medium else ("q35", "none")
    return [
        "qemu-system-x86_64",
        *("-name", config.name, "-machine", chipset, "-cpu", config.cpu),
        *("-accel", accelerator, *memory_words(config.memory), "-smp", str(config.cpus)),
        *("-display", "none", "-no-user-config", "-nodefaults", "-vga", screen),
        *_boot(config),
        *_channels(config),
        *_disks(config),
        *_nic(config),
        *(("-device", "qemu-xhci,id=keys", "-device", KEYBOARD) if config.usb_keyboard else ()),
        *(("-icount", config.icount) if config.icount else ()),
        *config.extra,
    ]


def files(config: Config) -> dict[str, Path]:
    """Return the files that a machine boots from, by the names that it has for them.

    QEMU takes a space or a comma in a path for the end of it, and a boot loader hands paths on to
    what it boots; so a run folder links these names to wherever the files are.
    """
    named = {"hypervisor": config.hypervisor, "kernel": config.kernel, "initrd": config.initramfs}
    if config.medium is not None:
        named = config.medium.files()
    named |= {f"disk{number}": disk.image for number, disk in enumerate(config.disks)}
    return {name: path.absolute() for name, path in named.items() if path is not None}


def _boot(config: Config) -> list[str]:
    if config.medium is not None:
        return config.medium.words()
    if config.hypervisor is None:
        ramdisk = ["-initrd", "initrd"] if config.initramfs else []
        return ["-kernel", "kernel", *ramdisk, "-append", config.kernel_args]
    # A comma separates modules, so one inside a module's arguments is doubled.
    modules = [f"kernel {config.kernel_args}".strip().replace(",", ",,")]
    modules += ["initrd"] if config.initramfs else []
    boot = ["-kernel", "hypervisor", "-append", config.hypervisor_args]
    return [*boot, "-initrd", ",".join(modules)]


def _channels(config: Config) -> list[str]:
    """Serial line, control and debugger are files of the run folder; a stopped guest is kept."""
    end = "poweroff" if config.detached else "pause"
    gdb = ["-gdb", "unix:gdb.sock,server=on,wait=off"] if config.gdb else []
    return [
        *("-chardev", "pipe,id=com1,path=serial"),
        *("-serial", "chardev:com1"),
        *("-qmp", "unix:qmp.sock,server=on,wait=off"),
        *("-action", f"reboot=shutdown,shutdown={end}"),
        *gdb,
    ]


def _disks(config: Config) -> list[str]:
    words = []
    for number, disk in enumerate(config.disks):
        snapshot = "on" if disk.scratch else "off"
        drive = f"if=none,id=disk{number},file=disk{number},format=raw,snapshot={snapshot}"
        words += ["-drive", drive]
    serials = [f"disk{number}" for number in range(len(config.disks))]
    return words + disk_words(config.disk_bus, serials)


def _nic(config: Config) -> list[str]:
    if config.nic is None:
        return []
    forward = f"hostfwd=tcp:127.0.0.1:0-{DOM0_ADDRESS}:{XEND_PORT}"
    device = f"{NICS[config.nic]},netdev=net0,romfile="
    return ["-netdev", f"user,id=net0,{forward}", "-device", device]
