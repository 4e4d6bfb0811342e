"""The code that a description covers: one range, or a list of them. Source: DWARF 5, 2.17; DWARF 4,
2.17.3.
"""

from dwarf.bytes import Cursor, Truncated

DW_AT_low_pc, DW_AT_high_pc, DW_AT_ranges = 0x11, 0x12, 0x55
DW_AT_str_offsets_base, DW_AT_addr_base, DW_AT_rnglists_base = 0x72, 0x73, 0x74
DW_FORM_addr, DW_FORM_rnglistx = 0x01, 0x23
ADDRESS_INDEXES = (0x1B, 0x29, 0x2A, 0x2B, 0x2C)
END_OF_LIST, BASE_ADDRESSX, STARTX_ENDX, STARTX_LENGTH = 0, 1, 2, 3
OFFSET_PAIR, BASE_ADDRESS, START_END, START_LENGTH = 4, 5, 6, 7


class Ranges:
    """Reads code ranges of one unit."""

    def __init__(self, image, unit):
        self.image, self.unit = image, unit
        self.base = self.address_base = self.list_base = self.string_base = 0

    def set_bases(self, values):
        """Take the unit's own address and tables from its first description."""
        self.address_base = values.get(DW_AT_addr_base, (0, 0))[0]
        self.list_base = values.get(DW_AT_rnglists_base, (0, 0))[0]
        self.string_base = values.get(DW_AT_str_offsets_base, (0, 0))[0]
        if DW_AT_low_pc in values:
            self.base = self._address(*values[DW_AT_low_pc])

    def of(self, values):
        """Return [(low, high)] of a description, given {attribute: (value, form)}."""
        if DW_AT_ranges in values:
            value, form = values[DW_AT_ranges]
            pairs = self._list_5(value, form) if self.unit.version >= 5 else self._list_4(value)
            return [pair for pair in pairs if pair[0] < pair[1]]
        if DW_AT_low_pc not in values or DW_AT_high_pc not in values:
            return []
        low = self._address(*values[DW_AT_low_pc])
        value, form = values[DW_AT_high_pc]
        high = value if form == DW_FORM_addr else low + value
        return [(low, high)] if low < high else []

    def _address(self, value, form):
        if form not in ADDRESS_INDEXES:
            return value
        size = self.unit.address_size
        at = self.address_base + value * size
        return Cursor(self.image.section(".debug_addr"), at).number(size)

    def _indexed(self, cursor):
        return self._address(cursor.uleb(), ADDRESS_INDEXES[0])

    def _list_4(self, offset):
        cursor, base = Cursor(self.image.section(".debug_ranges"), offset), self.base
        size = self.unit.address_size
        highest = (1 << 8 * size) - 1
        while True:
            low, high = cursor.number(size), cursor.number(size)
            if low == high == 0:
                return
            if low == highest:
                base = high
            else:
                yield base + low, base + high

    def _list_5(self, value, form):
        cursor = Cursor(self.image.section(".debug_rnglists"))
        cursor.at = value
        if form == DW_FORM_rnglistx:
            cursor.at = self.list_base + value * self.unit.offset_size
            cursor.at = self.list_base + cursor.number(self.unit.offset_size)
        base, size = self.base, self.unit.address_size
        while (kind := cursor.number(1)) != END_OF_LIST:
            if kind == BASE_ADDRESSX:
                base = self._indexed(cursor)
            elif kind == BASE_ADDRESS:
                base = cursor.number(size)
            elif kind == OFFSET_PAIR:
                low, high = cursor.uleb(), cursor.uleb()
                yield base + low, base + high
            elif kind == STARTX_ENDX:
                yield self._indexed(cursor), self._indexed(cursor)
            elif kind == STARTX_LENGTH:
                low = self._indexed(cursor)
                yield low, low + cursor.uleb()
            elif kind == START_END:
                yield cursor.number(size), cursor.number(size)
            elif kind == START_LENGTH:
                low = cursor.number(size)
                yield low, low + cursor.uleb()
            else:
                raise Truncated(f"a range of kind {kind} is not known")
