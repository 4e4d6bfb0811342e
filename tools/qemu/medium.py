"""A PC that boots from a medium: as a disc or a stick, by BIOS or by UEFI, with a screen."""

import shutil
from dataclasses import dataclass
from pathlib import Path

CODE, VARIABLES = "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"


@dataclass(frozen=True)
class Medium:
    """What is booted: as "cd", "usb" or "disk"; by the OVMF of the folder `uefi`, else SeaBIOS."""

    image: Path
    bus: str = "cd"
    uefi: Path | None = None
    chipset: str = "q35"

    def files(self) -> dict[str, Path]:
        """Return the files that QEMU reads, by the names that they have in the run folder."""
        return {"medium": self.image} | ({} if self.uefi is None else {"uefi": self.uefi / CODE})

    def prepare(self, folder: Path) -> None:
        """Put what the UEFI writes to, its variables, into the run folder."""
        if self.uefi is not None:
            shutil.copyfile(self.uefi / VARIABLES, folder / VARIABLES)

    def words(self) -> list[str]:
        """Return QEMU's options."""
        return [*self._firmware(), *self._drive()]

    def _firmware(self) -> list[str]:
        if self.uefi is None:
            return []
        flash = "if=pflash,format=raw"
        return ["-drive", f"{flash},readonly=on,file=uefi", "-drive", f"{flash},file={VARIABLES}"]

    def _drive(self) -> list[str]:
        """Return the options of the drive, on which nothing is written for good."""
        if self.bus == "cd":
            return ["-drive", "media=cdrom,if=ide,index=2,readonly=on,file=medium"]
        drive = "if=none,id=medium,format=raw,snapshot=on,file=medium"
        device = {"usb": "usb-storage,drive=medium", "disk": "ide-hd,drive=medium"}[self.bus]
        hub = ["-device", "qemu-xhci"] if self.bus == "usb" else []
        return ["-drive", drive, *hub, "-device", f"{device},bootindex=0"]
