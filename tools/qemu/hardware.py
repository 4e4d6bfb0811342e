"""The hardware of a machine: buses of disks, network cards, processors, memory; by environment
variables, as `make` passes them on, or by the caller's own choice.

Some devices came with a version of QEMU: what this one lacks is said in a sentence.
"""

import os
import re
import subprocess
from collections.abc import Mapping
from functools import cache

from tools.setup.progress import fail

DISKS = {
    "virtio": "virtio-blk-pci",
    "ahci": "ide-hd",
    "nvme": "nvme",
    "usb": "usb-storage",
    "scsi": "scsi-hd",
}
NICS = {
    "virtio": "virtio-net-pci",
    "e1000": "e1000",
    "e1000e": "e1000e",
    "rtl8139": "rtl8139",
    "igb": "igb",
}
CONTROLLERS = {"usb": "qemu-xhci", "scsi": "virtio-scsi-pci"}
MOST_CPUS = 255
MEMORY = re.compile(r"([1-9][0-9]*)([MG])")
LEAST_MIB = 1280  # domain 0 has 1024 of it
PROMISED_MIB = 8192  # up to here the host must say at once that it has so much


def chosen(environment: Mapping[str, str] = os.environ) -> dict[str, object]:
    """Return the fields of a machine's Config that the environment sets: PROXEN_DISK, PROXEN_NIC,
    PROXEN_CPUS, PROXEN_MEMORY; empty ones count as unset.

    Errors: SystemExit, one has no such value.
    """
    readers = {
        "disk_bus": ("PROXEN_DISK", lambda word: _one_of(word, DISKS)),
        "nic": ("PROXEN_NIC", lambda word: _one_of(word, NICS)),
        "cpus": ("PROXEN_CPUS", _cpus),
        "memory": ("PROXEN_MEMORY", _memory),
    }
    found = {}
    for name, (variable, read) in readers.items():
        if word := environment.get(variable):
            try:
                found[name] = read(word)
            except ValueError as error:
                raise fail(f"{variable.removeprefix('PROXEN_')} is '{word}'; {error}") from None
    return found


def disk_words(bus: str, serials: list[str]) -> list[str]:
    """Return QEMU's words for disks: drive N, whose serial number is serials[N], on a bus."""
    words = ["-device", f"{CONTROLLERS[bus]},id={bus}0"] if bus in CONTROLLERS and serials else []
    for number, serial in enumerate(serials):
        place = f",bus=ide.{number}" if bus == "ahci" else ""
        words += ["-device", f"{DISKS[bus]},drive=disk{number},serial={serial}{place}"]
    return words


def memory_words(memory: str) -> list[str]:
    """Return QEMU's words for memory. Much of it may be more than the host has: what the guest does
    not touch is never there.
    """
    words = ["-m", memory]
    if _mib(memory) > PROMISED_MIB:
        words += ["-machine", "memory-backend=ram"]
        words += ["-object", f"memory-backend-ram,id=ram,size={memory},reserve=off"]
    return words


@cache
def has_device(name: str) -> bool:
    """Tell whether this QEMU can make a device."""
    command = ["qemu-system-x86_64", "-device", "help"]
    done = subprocess.run(command, capture_output=True, text=True)
    return f'name "{name}"' in done.stdout


def _one_of(word: str, known: dict[str, str]) -> str:
    if word not in known:
        raise ValueError(f"it can be {', '.join(known)}")
    if not has_device(known[word]):
        raise ValueError(f"this QEMU has no {known[word]}; a newer one may")
    return word


def _cpus(word: str) -> int:
    if not word.isdecimal() or not 1 <= int(word) <= MOST_CPUS:
        raise ValueError(f"take a number from 1 to {MOST_CPUS}")
    return int(word)


def _memory(word: str) -> str:
    if not MEMORY.fullmatch(word) or _mib(word) < LEAST_MIB:
        raise ValueError(f"take {LEAST_MIB}M or more, as in 1536M or 8G")
    return word


def _mib(memory: str) -> int:
    return int(memory[:-1]) << (10 if memory.endswith("G") else 0)
