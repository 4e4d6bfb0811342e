"""Read a guest kernel: an x86-64 ELF file with Xen's notes.

Only what a paravirtual boot needs: the loadable segments, and the notes that say where the kernel
wants to live. The file is mapped, not read, so a large kernel costs nothing until it is copied.
"""

import mmap
import struct
from dataclasses import dataclass, field

import xen_codecs as abi

PT_LOAD, PT_NOTE = 1, 4
SHT_NOTE = 7
ELFCLASS32, ELFCLASS64, EM_X86_64 = 1, 2, 62

EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")
SHDR = struct.Struct("<IIQQQQIIQQ")


class NotAKernel(ValueError):
    """The file cannot be booted; the message says why, after "… is not a kernel: "."""


@dataclass
class Segment:
    """What to load: `data` at virtual address `vaddr`, zeros up to `size_bytes`."""

    vaddr: int
    data: memoryview
    size_bytes: int


@dataclass
class Kernel:
    """A kernel as the builder sees it; addresses are virtual, None means that no note says."""

    segments: list
    entry: int
    virt_base: int
    hypercall_page: int | None
    init_p2m: int | None
    mod_start_pfn: bool
    guest_os: str
    notes: dict = field(repr=False, default_factory=dict)

    @property
    def start(self):
        """The lowest address loaded."""
        return min(segment.vaddr for segment in self.segments)

    @property
    def end(self):
        """The first address after the kernel."""
        return max(segment.vaddr + segment.size_bytes for segment in self.segments)


class Elf:
    """A mapped ELF64 file. Errors: NotAKernel, it is no such file."""

    def __init__(self, path):
        with open(path, "rb") as file:
            try:
                self.data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            except ValueError:
                raise NotAKernel("it is empty") from None
        if bytes(self.data[:4]) != b"\x7fELF":
            raise NotAKernel("it is neither an ELF file nor a bzImage")
        if self.data[4] == ELFCLASS32:
            raise NotAKernel(
                "it is a 32-bit ELF file, and only 64-bit kernels run; build it for x86-64"
            )
        try:
            self._read_headers()
        except struct.error:
            raise NotAKernel(
                "its ELF headers are cut off; was the file copied completely?"
            ) from None

    def _read_headers(self):
        header = EHDR.unpack_from(self.data)
        machine, self.entry, phoff, shoff = header[2], header[4], header[5], header[6]
        phnum, shnum = header[10], header[12]
        if machine != EM_X86_64:
            raise NotAKernel(f"it is for machine type {machine}, not x86-64")
        self.segments = [PHDR.unpack_from(self.data, phoff + i * PHDR.size) for i in range(phnum)]
        self.sections = [SHDR.unpack_from(self.data, shoff + i * SHDR.size) for i in range(shnum)]

    def slice(self, offset, size_bytes):
        """Return part of the file. Errors: NotAKernel, it ends before."""
        if offset + size_bytes > len(self.data):
            raise NotAKernel("a part of it lies beyond its end; was the file copied completely?")
        return self.data[offset : offset + size_bytes]

    def notes(self):
        """Return {type: bytes} of Xen's notes, from segments and sections."""
        areas = [(p[2], p[5]) for p in self.segments if p[0] == PT_NOTE]
        areas += [(s[4], s[5]) for s in self.sections if s[1] == SHT_NOTE]
        found = {}
        for offset, size_bytes in areas:
            for name, kind, value in parse_notes(bytes(self.slice(offset, size_bytes))):
                if name == b"Xen":
                    found[kind] = value
        return found


def parse_notes(data):
    """Yield (name, type, value) of each note; a broken tail ends the list."""
    offset = 0
    while offset + 12 <= len(data):
        name_size, value_size, kind = struct.unpack_from("<III", data, offset)
        name_at = offset + 12
        value_at = name_at + (name_size + 3 & ~3)
        offset = value_at + (value_size + 3 & ~3)
        if offset > len(data) + 3:
            return
        yield data[name_at : name_at + name_size].rstrip(b"\0"), kind, data[value_at:][:value_size]


def read_kernel(path):
    """Return the Kernel in an ELF file.

    Errors: NotAKernel.
    """
    elf = Elf(path)
    notes = elf.notes()
    if not notes:
        raise NotAKernel("it has no Xen ELF notes; it must be built as a Xen paravirtual guest")
    virt_base = _number(notes, abi.XEN_ELFNOTE_VIRT_BASE, 0)
    shift = virt_base - _number(notes, abi.XEN_ELFNOTE_PADDR_OFFSET, 0)
    segments = [
        Segment(p[4] + shift, elf.slice(p[2], min(p[5], p[6])), p[6])
        for p in elf.segments
        if p[0] == PT_LOAD and p[6]
    ]
    if not segments:
        raise NotAKernel("it has nothing to load")
    if min(segment.vaddr for segment in segments) < virt_base:
        raise NotAKernel("it loads below its own VIRT_BASE")
    return Kernel(
        segments=segments,
        entry=_number(notes, abi.XEN_ELFNOTE_ENTRY, elf.entry),
        virt_base=virt_base,
        hypercall_page=_number(notes, abi.XEN_ELFNOTE_HYPERCALL_PAGE, None),
        init_p2m=_number(notes, abi.XEN_ELFNOTE_INIT_P2M, None),
        mod_start_pfn=bool(_number(notes, abi.XEN_ELFNOTE_MOD_START_PFN, 0)),
        guest_os=notes.get(abi.XEN_ELFNOTE_GUEST_OS, b"").rstrip(b"\0").decode(errors="replace"),
        notes=notes,
    )


def _number(notes, kind, default):
    """Return a numeric note of any width."""
    value = notes.get(kind)
    return default if value is None else int.from_bytes(value[:8], "little")
