"""The ELF64 file of domain 0's kernel: checked, its Xen notes read, its segments found.

Nothing in the file is trusted: every structure is looked at through `view`, which knows where the
file ends. A file that is not what the core can start stops the boot with a sentence that says what
to do.

Source: System V ABI, ELF-64 object file format 1.5; Xen public ABI, elfnote.h.
"""

import abi
from kpy import (
    Array,
    Ptr,
    Slice,
    TypeVar,
    inline,
    load,
    panic,
    ref,
    sizeof,
    struct,
    u8,
    u16,
    u32,
    u64,
)

from kernel.base.ids import Vaddr

T = TypeVar("T")

ELF_MAGIC = 0x464C457F  # "\x7fELF", little-endian
ELFCLASS64 = 2
EM_X86_64 = 62
PT_LOAD = 1
PT_NOTE = 4
LINUX_BOOT_MAGIC_OFFSET = 0x202
LINUX_BOOT_MAGIC = 0x53726448  # "HdrS"
XEN_OWNER = 0x6E6558  # "Xen\0"


@struct
class ElfHeader:
    magic: u32
    file_class: u8
    ident: Array[u8, 11]
    type: u16
    machine: u16
    version: u32
    entry: u64
    phoff: u64
    shoff: u64
    flags: u32
    ehsize: u16
    phentsize: u16
    phnum: u16
    shentsize: u16
    shnum: u16
    shstrndx: u16


@struct
class ProgramHeader:
    type: u32
    flags: u32
    offset: u64
    vaddr: u64
    paddr: u64
    filesz: u64
    memsz: u64
    align: u64


@struct
class NoteHeader:
    owner_size: u32
    content_size: u32
    type: u32
    owner: u32  # the first bytes of it: Xen's is four long


@struct
class KernelImage:
    """What the header and the notes of a kernel say, and where its segments lie."""

    file: Slice[u8]
    entry: u64
    virt_base: u64
    paddr_offset: u64
    hypercall_page: Vaddr | None  # where it wants one
    init_p2m: Vaddr | None  # where it wants the pfn -> mfn list, if not behind it
    mod_start_is_pfn: bool
    has_notes: bool
    start: u64  # virtual addresses of the whole image
    end: u64

    def segment_address(self, header: Ptr[ProgramHeader]) -> u64:
        """Return the virtual address to which a segment is loaded."""
        return header.paddr - self.paddr_offset + self.virt_base


@inline
def view(kind: type[T], file: Slice[u8], offset: u64) -> Ptr[T]:
    """Return the structure at an offset; a file that ends before it stops the boot."""
    if offset > len(file) or len(file) - offset < sizeof(T):
        panic("domain 0's kernel: the ELF file is cut short")
    return Ptr[T](u64(ref(file[offset])))


def read_kernel(file: Slice[u8], image: Ptr[KernelImage]) -> None:
    """Read header, notes and segments of domain 0's kernel into a zeroed structure, or panic with
    the reason.
    """
    check_kind(file)
    header = view(ElfHeader, file, 0)
    image.file = file
    image.entry = header.entry
    for i in range(u64(header.phnum)):
        segment = program_header(file, i)
        if segment.type == PT_NOTE:
            read_notes(image, segment.offset, segment.filesz)
    if not image.has_notes:
        panic("domain 0's kernel has no Xen ELF notes: it was built without CONFIG_XEN_PV")
    find_extent(image)


def check_kind(file: Slice[u8]) -> None:
    """Panic unless the file is an x86-64 ELF file."""
    has_room = len(file) >= LINUX_BOOT_MAGIC_OFFSET + sizeof(u32)
    if has_room and load(view(u32, file, LINUX_BOOT_MAGIC_OFFSET)) == LINUX_BOOT_MAGIC:
        panic("module 0 is a bzImage: pass the ELF inside it (tools/image makes vmlinux)")
    header = view(ElfHeader, file, 0)
    if header.magic != ELF_MAGIC:
        panic("module 0, domain 0's kernel, is not an ELF file")
    if header.file_class != ELFCLASS64 or header.machine != EM_X86_64:
        panic("domain 0's kernel is not a 64-bit x86 ELF file")


@inline
def program_header(file: Slice[u8], index: u64) -> Ptr[ProgramHeader]:
    """Return a program header of a checked ELF file."""
    header = view(ElfHeader, file, 0)
    return view(ProgramHeader, file, header.phoff + index * u64(header.phentsize))


def read_notes(image: Ptr[KernelImage], start: u64, size: u64) -> None:
    """Read the notes of one segment."""
    offset = start
    while offset + sizeof(NoteHeader) <= start + size:
        note = view(NoteHeader, image.file, offset)
        content = offset + 12 + aligned(note.owner_size)
        if note.owner_size == 4 and note.owner == XEN_OWNER:
            image.has_notes = True
            read_note(image, note, content)
        offset = content + aligned(note.content_size)


@inline
def aligned(size: u32) -> u64:
    """Round the size of a note's part up to a whole number of words."""
    return (u64(size) + 3) // 4 * 4


def read_note(image: Ptr[KernelImage], note: Ptr[NoteHeader], content: u64) -> None:
    """Take over one of Xen's notes; those that the core needs not know are skipped."""
    value: u64 = 0
    if note.content_size == 8:
        value = load(view(u64, image.file, content))
    elif note.content_size == 4:
        value = u64(load(view(u32, image.file, content)))
    match note.type:
        case abi.XEN_ELFNOTE_ENTRY:
            image.entry = value
        case abi.XEN_ELFNOTE_VIRT_BASE:
            image.virt_base = value
        case abi.XEN_ELFNOTE_PADDR_OFFSET:
            image.paddr_offset = value
        case abi.XEN_ELFNOTE_HYPERCALL_PAGE:
            image.hypercall_page = Vaddr(value)
        case abi.XEN_ELFNOTE_INIT_P2M:
            image.init_p2m = Vaddr(value)
        case abi.XEN_ELFNOTE_MOD_START_PFN:
            image.mod_start_is_pfn = value != 0
        case _:
            pass


def find_extent(image: Ptr[KernelImage]) -> None:
    """Find the lowest and the highest address that a segment takes."""
    image.start = ~u64(0)
    image.end = 0
    for i in range(u64(view(ElfHeader, image.file, 0).phnum)):
        segment = program_header(image.file, i)
        if segment.type == PT_LOAD and segment.memsz != 0:
            start = image.segment_address(segment)
            image.start = min(image.start, start)
            image.end = max(image.end, start + segment.memsz)
    if image.start >= image.end or image.start < image.virt_base:
        panic("domain 0's kernel has nothing to load, or lies below the base that it names")
