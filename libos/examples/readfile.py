"""A toy kernel with a disk: it prints the file in a tar archive on xvda, writes the disk's last
block, and ends with code 0.
"""

from kpy import Ptr, Slice, export, static, u8, u64

from drivers.blkfront import SECTOR_BYTES, SECTORS_PER_PAGE, XVDA, Disk
from libos.console import console_write, say
from libos.pages import alloc_pages
from libos.text import parse_number

TAR_SIZE = 124  # where a tar header tells the file's size, 11 octal digits
TAR_NAME_BYTES = 100
OCTAL = 8

disk = static(Disk)


def name_of(header: Slice[u8]) -> Slice[u8]:
    length: u64 = 0
    while length < TAR_NAME_BYTES and header[length] != 0:
        length += 1
    return header[0:length]


@export
def main() -> u64:
    say("readfile: a kernel of 50 lines, with a disk")
    if not disk.open(XVDA):
        say("readfile: there is no disk xvda")
        return 2
    page = alloc_pages(1)
    data = Slice[u8](Ptr[u8](page), SECTORS_PER_PAGE * SECTOR_BYTES)
    if not disk.read(0, page, 1):
        return 3
    size = parse_number(data[TAR_SIZE : TAR_SIZE + 11], OCTAL)
    say(f"readfile: {name_of(data)} has {size} bytes, the disk {disk.nr_sectors} sectors")
    sector: u64 = 1
    while size > 0:
        if not disk.read(sector, page, 1):
            return 3
        console_write(data[0 : min(size, SECTOR_BYTES)])
        size -= min(size, SECTOR_BYTES)
        sector += 1
    for i in range(SECTOR_BYTES):
        data[i] = u8(i % 251)
    if not disk.write(disk.nr_sectors - 1, page, 1) or not disk.flush():
        return 4
    say(f"readfile: wrote sector {disk.nr_sectors - 1}")
    return 0
