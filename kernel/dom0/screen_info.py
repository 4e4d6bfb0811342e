"""What domain 0 is told of the screen, so that its console goes on there.

Source: Xen public ABI, xen.h, dom0_vga_console_info.
"""

import abi
from kpy import Ptr, ref, sizeof, truncate, u16, u32, u64

from kernel.x86 import boot_info
from kernel.x86.boot_info import Colour, ScreenKind

FONT_HEIGHT = 16
SIZE_UNIT_SHIFT = 16  # lfb_size counts 64 KiB
TRUE_COLOUR = (
    1 << 7 | 1 << 4 | 1 << 3 | 1 << 1 | 1 << 0
)  # VBE mode attributes, with a linear buffer
WIDE_BASE = 1 << 1  # gbl_caps: ext_lfb_base counts


def describe_screen(info: Ptr[abi.start_info]) -> None:
    """Write the screen's description behind the start info, in the same page, unless there is no
    screen.
    """
    if boot_info.screen.kind == ScreenKind.NONE:
        return
    place = u64(info) + sizeof(abi.start_info)
    screen = Ptr[abi.dom0_vga_console_info](place)  # the page has room: both are much smaller
    if boot_info.screen.kind == ScreenKind.TEXT:
        describe_text(screen)
    else:
        describe_pixels(screen)
    info.console.dom0.info_off = sizeof(abi.start_info)
    info.console.dom0.info_size = sizeof(abi.dom0_vga_console_info)


def describe_text(screen: Ptr[abi.dom0_vga_console_info]) -> None:
    """Describe a screen of characters; the cursor is left on its last line."""
    screen.video_type = abi.XEN_VGATYPE_TEXT_MODE_3
    text = ref(screen.u.text_mode_3)
    text.font_height = FONT_HEIGHT
    text.rows = truncate(u16, boot_info.screen.height)
    text.columns = truncate(u16, boot_info.screen.width)
    text.cursor_y = text.rows - min(text.rows, 1)


def describe_pixels(screen: Ptr[abi.dom0_vga_console_info]) -> None:
    """Describe a frame buffer."""
    is_efi = boot_info.efi_system_table != 0
    screen.video_type = abi.XEN_VGATYPE_EFI_LFB if is_efi else abi.XEN_VGATYPE_VESA_LFB
    buffer = ref(screen.u.vesa_lfb)
    found = boot_info.screen
    buffer.width = truncate(u16, found.width)
    buffer.height = truncate(u16, found.height)
    buffer.bytes_per_line = truncate(u16, found.pitch)
    buffer.bits_per_pixel = u16(found.bits_per_pixel)
    buffer.lfb_base = truncate(u32, found.maddr)
    buffer.ext_lfb_base = truncate(u32, found.maddr >> 32)
    buffer.gbl_caps = u32(WIDE_BASE) if buffer.ext_lfb_base != 0 else u32(0)
    size = u64(found.pitch) * u64(found.height)
    buffer.lfb_size = truncate(u32, (size + (1 << SIZE_UNIT_SHIFT) - 1) >> SIZE_UNIT_SHIFT)
    buffer.mode_attrs = TRUE_COLOUR
    describe_colours(screen, found.red, found.green, found.blue)


def describe_colours(
    screen: Ptr[abi.dom0_vga_console_info], red: Colour, green: Colour, blue: Colour
) -> None:
    """Describe where the colours' bits are in a pixel."""
    buffer = ref(screen.u.vesa_lfb)
    buffer.red_pos, buffer.red_size = red.position, red.size
    buffer.green_pos, buffer.green_size = green.position, green.size
    buffer.blue_pos, buffer.blue_size = blue.position, blue.size
