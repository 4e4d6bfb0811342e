"""What a disk behind dom0 gives: streams of large requests, and single pages one by one."""

import abi
from kpy import Array, Slice, static, u8, u64

from drivers.blkfront import MAX_SECTORS, SECTOR_BYTES, SECTORS_PER_PAGE, XVDA, Disk
from libos.bench.measure import ITERATIONS, put_sample, report, report_rate
from libos.console import say
from libos.layout import PAGE_SIZE
from libos.pages import alloc_pages
from libos.time import system_time_ns

STREAM_BYTES = 16 << 20  # so large a disk it takes; what is on it is lost
REQUEST_BYTES = MAX_SECTORS * SECTOR_BYTES
NR_REQUESTS = STREAM_BYTES // REQUEST_BYTES
UNDER_WAY = 8
STRIDE = 7919  # a prime: single requests jump all over the disk

disk = static(Disk)
numbers = static(Array[u64, UNDER_WAY])


def measure_disk() -> u64:
    """Return the exit code."""
    if not disk.open(XVDA) or disk.nr_sectors * SECTOR_BYTES < STREAM_BYTES:
        say("bench: no disk, or a small one")
        return 3
    pages = alloc_pages(UNDER_WAY * REQUEST_BYTES // PAGE_SIZE)
    stream(b"toy_disk_write_stream", abi.BLKIF_OP_WRITE, pages)
    stream(b"toy_disk_read_stream", abi.BLKIF_OP_READ, pages)
    single(b"toy_disk_write_4k", abi.BLKIF_OP_WRITE, pages)
    single(b"toy_disk_read_4k", abi.BLKIF_OP_READ, pages)
    return 0


def stream(name: Slice[u8], operation: u8, pages: u64) -> None:
    """Keep UNDER_WAY requests of the greatest length at the back end, one behind the other."""
    start = system_time_ns()
    for i in range(NR_REQUESTS + UNDER_WAY):
        place = i % UNDER_WAY
        if i >= UNDER_WAY:
            assert disk.finish(numbers[place])
        if i < NR_REQUESTS:
            memory = pages + place * REQUEST_BYTES
            numbers[place] = disk.start(operation, i * MAX_SECTORS, memory, MAX_SECTORS)
    report_rate(name, NR_REQUESTS * REQUEST_BYTES, start)


def single(name: Slice[u8], operation: u8, page: u64) -> None:
    """Wait for each page before asking for the next."""
    for i in range(ITERATIONS):
        sector = i * STRIDE % (STREAM_BYTES // PAGE_SIZE) * SECTORS_PER_PAGE
        start = system_time_ns()
        assert disk.finish(disk.start(operation, sector, page, SECTORS_PER_PAGE))
        put_sample(i, system_time_ns() - start)
    report(name)
