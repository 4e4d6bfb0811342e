"""How the attributes of .debug_info are stored. Source: DWARF 5, 7.5.6."""

from dwarf.bytes import Truncated

DW_FORM_addr, DW_FORM_string, DW_FORM_strp, DW_FORM_line_strp = 0x01, 0x08, 0x0E, 0x1F
DW_FORM_sdata, DW_FORM_udata, DW_FORM_exprloc, DW_FORM_flag_present = 0x0D, 0x0F, 0x18, 0x19
DW_FORM_sec_offset, DW_FORM_implicit_const, DW_FORM_indirect = 0x17, 0x21, 0x16
DW_FORM_ref_addr, DW_FORM_block, DW_FORM_strx, DW_FORM_addrx = 0x10, 0x09, 0x1A, 0x1B
DW_FORM_ref_udata, DW_FORM_loclistx, DW_FORM_rnglistx = 0x15, 0x22, 0x23
FIXED = {
    0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x0C: 1,  # data, flag
    0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x20: 8,  # references within the unit, signatures
    0x1E: 16, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4, 0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4,
}  # fmt: skip
BLOCK_SIZES = {0x0A: 1, 0x03: 2, 0x04: 4}
ULEB = (
    DW_FORM_udata,
    DW_FORM_ref_udata,
    DW_FORM_strx,
    DW_FORM_addrx,
    DW_FORM_loclistx,
    DW_FORM_rnglistx,
)
OFFSETS = (DW_FORM_strp, DW_FORM_line_strp, DW_FORM_sec_offset, DW_FORM_ref_addr)
UNIT_REFERENCES = (0x11, 0x12, 0x13, 0x14, DW_FORM_ref_udata)


def read_form(cursor, form, constant, address_size, offset_size):
    """Read one attribute's value as stored: a number, or None where it is of no use here."""
    size = FIXED.get(form)
    if size:
        return cursor.number(size)
    if form in OFFSETS:
        return cursor.number(offset_size)
    if form in ULEB:
        return cursor.uleb()
    if form == DW_FORM_addr:
        return cursor.number(address_size)
    if form in (DW_FORM_exprloc, DW_FORM_block):
        length = cursor.uleb()
        cursor.at += length
        return None
    if form in BLOCK_SIZES:
        length = cursor.number(BLOCK_SIZES[form])
        cursor.at += length
        return None
    if form == DW_FORM_flag_present:
        return 1
    if form == DW_FORM_implicit_const:
        return constant
    if form == DW_FORM_sdata:
        return cursor.sleb()
    if form == DW_FORM_string:
        return cursor.string()
    raise Truncated(f"attributes of form {form:#x} are not known")
