"""A linked program's file, taken apart and put together anew: flat, or without debug information.

Source: System V ABI, chapter 4.
"""

from dwarf.image import EHDR, SHDR, SHF_EXECINSTR, SHT_NOBITS, Image

SHF_WRITE, SHF_ALLOC = 1, 2
# Places in a file header and in a section header.
SHOFF, SHNUM, SHSTRNDX = 6, 12, 13
TYPE, FLAGS, ADDRESS, OFFSET, SIZE, LINK = 1, 2, 3, 4, 5, 6
ALIGNMENT = 8


class ProgramFile:
    """The file. Errors: OSError; dwarf.bytes.Truncated, it is no 64-bit ELF file."""

    def __init__(self, path):
        self.image = Image(path)
        self.headers = self.image.headers
        self.loaded = [header for header in self.headers if header[FLAGS] & SHF_ALLOC]

    def flat(self):
        """Return the memory image from the first section to the end of the last that has bytes."""
        filled = [h for h in self.loaded if h[TYPE] != SHT_NOBITS and h[SIZE]]
        start = min(header[ADDRESS] for header in filled)
        memory = bytearray(max(header[ADDRESS] + header[SIZE] for header in filled) - start)
        for header in filled:
            place = header[ADDRESS] - start
            memory[place : place + header[SIZE]] = self._bytes(header)
        return bytes(memory)

    def sizes(self):
        """Return (code and constants, data, zeroed memory) in bytes."""
        empty = [header for header in self.loaded if header[TYPE] == SHT_NOBITS]
        data = [h for h in self.loaded if h not in empty and _is_data(h)]
        fixed = [h for h in self.loaded if h not in empty and h not in data]
        return tuple(sum(header[SIZE] for header in part) for part in (fixed, data, empty))

    def without_debug(self):
        """Return the file without its .debug sections, which tell in which folder it was built."""
        dropped = {h for name, h in self.image.names.items() if name.startswith(".debug")}
        kept = [header for header in self.headers if header not in dropped]
        end = max(h[OFFSET] + h[SIZE] for h in self.loaded if h[TYPE] != SHT_NOBITS)
        parts, headers = [bytes(self.image.data[:end])], []
        for header in kept:
            if header[FLAGS] & SHF_ALLOC or not header[TYPE]:
                headers.append(header)
                continue
            parts.append(bytes(-end % ALIGNMENT))
            end += -end % ALIGNMENT
            link = kept.index(self.headers[header[LINK]])
            headers.append((*header[:OFFSET], end, header[SIZE], link, *header[LINK + 1 :]))
            parts.append(self._bytes(header))
            end += header[SIZE]
        parts += [SHDR.pack(*header) for header in headers]
        return self._file_header(end, kept) + b"".join(parts)[EHDR.size :]

    def _file_header(self, offset, kept):
        """Return the file's header for section headers at `offset`."""
        fields = list(EHDR.unpack_from(self.image.data))
        names = kept.index(self.headers[fields[SHSTRNDX]])
        fields[SHOFF], fields[SHNUM], fields[SHSTRNDX] = offset, len(kept), names
        return EHDR.pack(*fields)

    def _bytes(self, header):
        return bytes(self.image.data[header[OFFSET] : header[OFFSET] + header[SIZE]])


def _is_data(header):
    return header[FLAGS] & SHF_WRITE and not header[FLAGS] & SHF_EXECINSTR
