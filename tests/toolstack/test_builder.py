"""The domain builder against a hypervisor that checks page tables as Xen does."""

from dataclasses import replace

import pytest
import xen_codecs as abi
from xen import domctl
from xen.privcmd import PAGE_SIZE, HypercallError
from xend.builder import Images, build, plan, populate
from xend.crash import report
from xend.elf import read_kernel
from xend.layout import TooLittleMemory

from tests.toolstack import tiny_guest
from tests.toolstack.fake_xen import FakeEvents, FakeXen

INIT_P2M = 0x8000000000


@pytest.fixture
def xen():
    return FakeXen(FakeEvents())


@pytest.fixture
def kernel(tmp_path):
    path = tmp_path / "guest"
    path.write_bytes(tiny_guest.build(tiny_guest.HELLO))
    return read_kernel(str(path))


class Guest:
    """A domain that was built, seen through its own page tables."""

    def __init__(self, xen, images, memory_mib):
        self.xen = xen
        self.layout = plan(images, memory_mib)
        self.domid = domctl.createdomain(xen, bytes(range(16)), 1)
        self.built = build(xen, self.domid, images, self.layout, 1)
        self.domain = xen.domains[self.domid]
        self.registers = self.domain.contexts[0].user_regs
        page = self.read(self.registers.rsi, abi.start_info)
        self.info = abi.start_info.from_buffer_copy(page)

    def frame(self, address):
        """Return the machine frame at a virtual address."""
        mfn = self.domain.pinned
        for shift in (39, 30, 21, 12):
            entry = self.xen.memory.words(mfn)[address >> shift & 511]
            assert entry & 1, f"{address:#x} is not mapped"
            mfn = entry >> 12 & (1 << 40) - 1
        return mfn

    def read(self, address, ctype):
        size = abi.ctypes.sizeof(ctype)
        return bytes(self.xen.memory.page(self.frame(address))[address % PAGE_SIZE :][:size])


def test_a_small_guest(xen, kernel):
    guest = Guest(xen, Images(kernel, memoryview(b""), "a=1"), 4)
    assert guest.registers.rip == tiny_guest.CODE
    assert guest.info.magic == b"xen-3.0-x86_64"
    assert guest.info.nr_pages == 1024
    assert bytes(guest.info.cmd_line).rstrip(b"\0") == b"a=1"
    assert guest.info.store_mfn == guest.frame(guest.registers.rsi + PAGE_SIZE)
    assert guest.info.console.domU.mfn == guest.frame(guest.registers.rsi + 2 * PAGE_SIZE)
    assert guest.frame(guest.info.pt_base) == guest.domain.pinned
    assert (guest.built.store_port, guest.built.console_port) == (1, 2)
    assert xen.memory.page(guest.frame(tiny_guest.CODE))[:3] == b"\x49\x89\xf7"
    assert guest.frame(guest.registers.rsp - 8)
    assert not xen.memory.live or not any(xen.memory.live.values())


def test_frame_list_matches_the_mapping(xen, kernel):
    guest = Guest(xen, Images(kernel, memoryview(b""), ""), 8)
    for pfn in (0, 1, 7, 40):
        words = xen.memory.words(guest.frame(guest.info.mfn_list + pfn * 8))
        assert words[(guest.info.mfn_list + pfn * 8) % PAGE_SIZE // 8] == guest.frame(
            tiny_guest.VIRT_BASE + pfn * PAGE_SIZE
        )


def test_a_guest_that_names_its_frame_list_and_ramdisk(xen, kernel):
    """As stock Linux does: INIT_P2M and MOD_START_PFN."""
    linux = replace(kernel, init_p2m=INIT_P2M, mod_start_pfn=True)
    guest = Guest(xen, Images(linux, memoryview(b"ramdisk" * 1000), ""), 16)
    info = guest.info
    assert info.mfn_list == INIT_P2M and guest.frame(INIT_P2M)
    assert info.flags & abi.SIF_MOD_START_PFN and info.mod_len == 7000
    assert info.first_p2m_pfn == guest.layout["p2m"].pfn
    assert info.nr_p2m_frames == guest.layout["p2m"].pages + 3
    p2m = xen.memory.words(guest.frame(INIT_P2M + info.mod_start * 8))
    ramdisk = xen.memory.page(p2m[info.mod_start % 512])
    assert bytes(ramdisk[:14]) == b"ramdiskramdisk"


def test_a_mapped_ramdisk(xen, kernel):
    guest = Guest(xen, Images(kernel, memoryview(b"R" * 5000), ""), 8)
    assert bytes(xen.memory.page(guest.frame(guest.info.mod_start))[:4]) == b"RRRR"
    assert guest.info.mod_len == 5000


def test_events_start_masked_and_grants_name_the_shared_pages(xen, kernel):
    guest = Guest(xen, Images(kernel, memoryview(b""), ""), 8)
    shared = abi.shared_info.from_buffer_copy(xen.memory.page(guest.domain.shared_info_mfn))
    assert all(vcpu.evtchn_upcall_mask == 1 for vcpu in shared.vcpu_info)
    grants = (abi.grant_entry_v1 * 2).from_buffer_copy(xen.memory.page(guest.domain.grant_mfn))
    assert grants[abi.GNTTAB_RESERVED_CONSOLE].frame == guest.built.console_mfn
    assert grants[abi.GNTTAB_RESERVED_XENSTORE].frame == guest.built.store_mfn


@pytest.mark.parametrize("memory_mib", [1, 3, 5, 33])
def test_any_size_that_fits_gives_valid_tables(xen, kernel, memory_mib):
    Guest(xen, Images(kernel, memoryview(b""), ""), memory_mib)


def test_too_little_memory_says_how_much_would_do(kernel):
    with pytest.raises(TooLittleMemory) as caught:
        plan(Images(kernel, memoryview(bytes(3 << 20)), ""), 2)
    plan(Images(kernel, memoryview(bytes(3 << 20)), ""), caught.value.needed_mib)


def test_populate_reports_when_memory_runs_out(xen):
    domid = domctl.createdomain(xen, bytes(16), 1)
    domctl.max_mem(xen, domid, 1 << 30)
    with pytest.raises(HypercallError, match="ENOMEM"):
        populate(xen, domid, 1 << 20)


def test_crash_report_walks_frame_pointers(xen, tmp_path):
    path = tmp_path / "crash"
    path.write_bytes(tiny_guest.link(tiny_guest.CRASH_PARTS))
    guest = Guest(xen, Images(read_kernel(str(path)), memoryview(b""), ""), 4)
    stack = guest.registers.rsp - 64
    words = xen.memory.words(guest.frame(stack))
    words[stack % PAGE_SIZE // 8 + 0] = stack + 16
    words[stack % PAGE_SIZE // 8 + 1] = tiny_guest.CODE + 0x1A
    words[stack % PAGE_SIZE // 8 + 2] = 0
    words[stack % PAGE_SIZE // 8 + 3] = tiny_guest.CODE + 0xF
    guest.registers.rip, guest.registers.rbp = tiny_guest.CODE + 0x27, stack
    (vcpu,) = report(xen, guest.domid, 1, str(path))["vcpus"]
    assert [frame["symbol"] for frame in vcpu["backtrace"]] == ["inner", "outer", "_start"]
    assert vcpu["registers"]["rip"] == hex(tiny_guest.CODE + 0x27)


@pytest.mark.parametrize("rbp", [0, 7, 8, 0xDEADBEEF000, 0xFFFF800000000000, (1 << 64) - 8])
def test_a_wild_frame_pointer_ends_the_backtrace(xen, kernel, rbp):
    guest = Guest(xen, Images(kernel, memoryview(b""), ""), 4)
    guest.registers.rbp = rbp
    (vcpu,) = report(xen, guest.domid, 1, None)["vcpus"]
    assert len(vcpu["backtrace"]) == 1 and vcpu["backtrace"][0]["symbol"] == ""
