"""The line table: which source line each instruction came from. Source: DWARF 5, 6.2."""

import os
from dataclasses import dataclass

from dwarf.bytes import Cursor, Truncated, string_at

DW_LNCT_path, DW_LNCT_directory_index = 1, 2
DW_LNS_copy, DW_LNS_advance_pc, DW_LNS_advance_line, DW_LNS_set_file = 1, 2, 3, 4
DW_LNS_const_add_pc, DW_LNS_fixed_advance_pc = 8, 9
DW_LNE_end_sequence, DW_LNE_set_address = 1, 2
DW_FORM_string, DW_FORM_strp, DW_FORM_line_strp, DW_FORM_udata = 0x08, 0x0E, 0x1F, 0x0F
DW_FORM_data1, DW_FORM_data2, DW_FORM_data16, DW_FORM_block = 0x0B, 0x05, 0x1E, 0x09


@dataclass
class Program:
    """The header of one unit's table."""

    files: list  # paths, as numbered by the rows
    minimum: int
    line_base: int
    line_range: int
    opcode_base: int
    lengths: list


def read_units(image):
    """Yield (offset, files, rows) of each unit.

    A row is (address, file number, line); line 0 stands for code of no line, file None for the end
    of a run of code.
    """
    data = image.section(".debug_line")
    cursor = Cursor(data)
    while cursor.at < len(data):
        offset = cursor.at
        length = cursor.number(4)
        wide = length == 0xFFFFFFFF
        length = cursor.number(8) if wide else length
        end = cursor.at + length
        if end > len(data):
            raise Truncated("the line table is cut off")
        program, start = _read_header(image, cursor, 8 if wide else 4)
        yield offset, program.files, _run(data, start, end, program)
        cursor.at = end


def _read_header(image, cursor, offset_size):
    version = cursor.number(2)
    if not 2 <= version <= 5:
        raise Truncated(f"line tables of version {version} are not known")
    if version >= 5:
        cursor.number(2)  # address and segment selector sizes
    header_length = cursor.number(offset_size)
    start = cursor.at + header_length
    minimum = cursor.number(1)
    if version >= 4:
        cursor.number(1)
    cursor.number(1)
    line_base = cursor.number(1)
    line_base -= (line_base & 0x80) << 1
    line_range, opcode_base = cursor.number(1), cursor.number(1)
    lengths = [0, *(cursor.number(1) for _ in range(opcode_base - 1))]
    names = _names_5(image, cursor, offset_size) if version >= 5 else _names_4(cursor)
    return Program(names, minimum, line_base, max(line_range, 1), opcode_base, lengths), start


def _names_4(cursor):
    folders = [""]
    while text := cursor.string():
        folders.append(text)
    files = [None]
    while text := cursor.string():
        folder = cursor.uleb()
        cursor.uleb(), cursor.uleb()
        files.append(os.path.join(folders[folder] if folder < len(folders) else "", text))
    return files


def _names_5(image, cursor, offset_size):
    folders = [path for path, _ in _entries(image, cursor, offset_size)]
    files = _entries(image, cursor, offset_size)
    return [os.path.join(folders[i] if i < len(folders) else "", path) for path, i in files]


def _entries(image, cursor, offset_size):
    """Read a table of directories or files as (path, directory index)."""
    formats = [(cursor.uleb(), cursor.uleb()) for _ in range(cursor.number(1))]
    entries = []
    for _ in range(cursor.uleb()):
        values = {kind: _value(image, cursor, form, offset_size) for kind, form in formats}
        path = values.get(DW_LNCT_path, "")
        entries.append((path, values.get(DW_LNCT_directory_index, 0)))
    return entries


def _value(image, cursor, form, offset_size):
    if form == DW_FORM_string:
        return cursor.string()
    if form in (DW_FORM_strp, DW_FORM_line_strp):
        name = ".debug_line_str" if form == DW_FORM_line_strp else ".debug_str"
        return string_at(image.section(name), cursor.number(offset_size)).decode(errors="replace")
    if form == DW_FORM_udata:
        return cursor.uleb()
    if form == DW_FORM_block:
        return cursor.number(cursor.uleb())
    sizes = {DW_FORM_data1: 1, DW_FORM_data2: 2, DW_FORM_data16: 16}
    if form not in sizes:
        raise Truncated(f"form {form:#x} in a line table is not known")
    return cursor.number(sizes[form])


def _run(data, start, end, program):
    """Run a line number program; return its rows."""
    cursor, rows = Cursor(data, start), []
    address, file, line = 0, 1, 1
    while cursor.at < end:
        opcode = data[cursor.at]
        cursor.at += 1
        if opcode >= program.opcode_base:
            step, delta = divmod(opcode - program.opcode_base, program.line_range)
            address += step * program.minimum
            line += program.line_base + delta
            rows.append((address, file, line))
        elif opcode == 0:
            length = cursor.uleb()
            after = cursor.at + length
            kind = cursor.number(1)
            if kind == DW_LNE_set_address:
                address = cursor.number(length - 1)
            elif kind == DW_LNE_end_sequence:
                rows.append((address, None, 0))
                address, file, line = 0, 1, 1
            cursor.at = after
        elif opcode == DW_LNS_copy:
            rows.append((address, file, line))
        elif opcode == DW_LNS_advance_pc:
            address += cursor.uleb() * program.minimum
        elif opcode == DW_LNS_advance_line:
            line += cursor.sleb()
        elif opcode == DW_LNS_set_file:
            file = cursor.uleb()
        elif opcode == DW_LNS_const_add_pc:
            address += (255 - program.opcode_base) // program.line_range * program.minimum
        elif opcode == DW_LNS_fixed_advance_pc:
            address += cursor.number(2)
        else:
            for _ in range(program.lengths[opcode]):
                cursor.uleb()
    return rows
