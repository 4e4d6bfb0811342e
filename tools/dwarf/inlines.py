"""Calls that the compiler inlined: which function's code lies inside of which.

Source: DWARF 5, 3.3.
Only code addresses, names and call lines are read out of .debug_info.
"""

from dataclasses import dataclass

from dwarf.bytes import Cursor, string_at
from dwarf.forms import UNIT_REFERENCES, DW_FORM_line_strp, DW_FORM_strp, DW_FORM_strx, read_form
from dwarf.ranges import Ranges

DW_TAG_compile_unit, DW_TAG_inlined_subroutine, DW_TAG_subprogram = 0x11, 0x1D, 0x2E
DW_AT_name, DW_AT_stmt_list, DW_AT_abstract_origin, DW_AT_specification = 0x03, 0x10, 0x31, 0x47
DW_AT_comp_dir, DW_AT_call_file, DW_AT_call_line = 0x1B, 0x58, 0x59
STRING_INDEXES = (DW_FORM_strx, 0x25, 0x26, 0x27, 0x28)
TAGS = (DW_TAG_compile_unit, DW_TAG_inlined_subroutine, DW_TAG_subprogram)


@dataclass
class Inlined:
    """The code of one inlined call, in one of its runs."""

    low: int
    high: int
    depth: int  # 1: called by the function itself
    origin: int  # of the function's description
    call_line: int  # in the caller
    call_file: tuple  # offset of the unit's line table, number of the file in it
    name: str = ""


class Unit:
    """One compile unit's header and bases."""

    def __init__(self, image, cursor):
        self.image, self.offset = image, cursor.at
        length = cursor.number(4)
        self.offset_size = 4
        if length == 0xFFFFFFFF:
            length, self.offset_size = cursor.number(8), 8
        self.end = cursor.at + length
        self.version = cursor.number(2)
        kind = cursor.number(1) if self.version >= 5 else 1
        if self.version >= 5:
            self.address_size = cursor.number(1)
        self.abbreviations = cursor.number(self.offset_size)
        if self.version < 5:
            self.address_size = cursor.number(1)
        self.lines, self.folder = 0, ""
        self.is_full = kind == 1  # not a type unit or a skeleton
        self.ranges = Ranges(image, self)

    def text(self, value, form):
        """Return the string that an attribute stands for."""
        if isinstance(value, str):
            return value
        if form in (DW_FORM_strp, DW_FORM_line_strp):
            section = ".debug_str" if form == DW_FORM_strp else ".debug_line_str"
            return string_at(self.image.section(section), value).decode(errors="replace")
        if form in STRING_INDEXES:
            offsets = Cursor(self.image.section(".debug_str_offsets"))
            offsets.at = self.ranges.string_base + value * self.offset_size
            offset = offsets.number(self.offset_size)
            return string_at(self.image.section(".debug_str"), offset).decode(errors="replace")
        return ""


@dataclass
class Calls:
    """What .debug_info says about code."""

    inlined: list  # every Inlined
    names: dict  # of the file's own functions, by address
    folders: dict  # the folder that a unit was compiled in, by the offset of its line table


def read_calls(image):
    """Return the Calls of a file."""
    data = image.section(".debug_info")
    found, names, functions, folders = [], {}, {}, {}
    cursor = Cursor(data)
    while cursor.at < len(data):
        unit = Unit(image, cursor)
        if unit.is_full:
            _read_unit(image, cursor, unit, found, names, functions)
            folders[unit.lines] = unit.folder
        cursor.at = unit.end
    for inlined in found:
        inlined.name = _name(inlined.origin, names)
    return Calls(found, {at: _name(offset, names) for at, offset in functions.items()}, folders)


def _name(offset, names):
    """Follow a description to the one that has the name."""
    for _ in range(4):
        name = names.get(offset, "")
        if isinstance(name, str):
            return name
        offset = name
    return ""


def _read_unit(image, cursor, unit, found, names, functions):
    abbreviations = _read_abbreviations(image, unit.abbreviations)
    depths = []  # of inlined calls, for each open level of the tree
    while cursor.at < unit.end:
        offset = cursor.at
        code = cursor.uleb()
        if not code:
            if depths:
                depths.pop()
            continue
        tag, has_children, layout = abbreviations[code]
        values = {}
        for attribute, form, constant in layout:
            value = read_form(cursor, form, constant, unit.address_size, unit.offset_size)
            if tag in TAGS:
                values[attribute] = value, form
        depth = depths[-1] if depths else 0
        if tag == DW_TAG_compile_unit:
            unit.ranges.set_bases(values)
            unit.lines = values.get(DW_AT_stmt_list, (0, 0))[0]
            unit.folder = unit.text(*values.get(DW_AT_comp_dir, ("", 0)))
        elif tag == DW_TAG_subprogram:
            depth = 0
            names[offset] = _own_name(unit, values)
            for low, _ in unit.ranges.of(values):
                functions[low] = offset
        elif tag == DW_TAG_inlined_subroutine:
            depth += 1
            origin = _reference(unit, *values.get(DW_AT_abstract_origin, (0, 0)))
            line = values.get(DW_AT_call_line, (0, 0))[0]
            file = (unit.lines, values.get(DW_AT_call_file, (0, 0))[0])
            for low, high in unit.ranges.of(values):
                found.append(Inlined(low, high, depth, origin, line, file))
        if has_children:
            depths.append(depth)


def _own_name(unit, values):
    """Return a function's name, or the offset of the description that has it."""
    if DW_AT_name in values:
        return unit.text(*values[DW_AT_name])
    for attribute in (DW_AT_abstract_origin, DW_AT_specification):
        if attribute in values:
            return _reference(unit, *values[attribute])
    return ""


def _reference(unit, value, form):
    return unit.offset + value if form in UNIT_REFERENCES else value


def _read_abbreviations(image, offset):
    """Return {code: (tag, has children, [(attribute, form, constant)])}."""
    cursor, table = Cursor(image.section(".debug_abbrev"), offset), {}
    while code := cursor.uleb():
        tag, has_children = cursor.uleb(), cursor.number(1)
        layout = []
        while True:
            attribute, form = cursor.uleb(), cursor.uleb()
            constant = cursor.sleb() if form == 0x21 else 0
            if not attribute and not form:
                break
            layout.append((attribute, form, constant))
        table[code] = tag, has_children, layout
    return table
