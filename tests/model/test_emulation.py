"""Privileged instructions of guests: which are emulated, for whom, and what they change.

Each is executed in the model: it raises the #GP (or #UD) that ring 3 gets for it.
"""

import abi
import pytest

from tests.model import errors
from tests.model.errors import BENT
from tests.model.execute import (
    CODE,
    DATA,
    FLAGS,
    GP,
    NOTHING_MAPPED,
    UD,
    Executor,
)
from tests.model.guest import PAGE
from tests.model.test_interrupted import TREE_L4, tree

WHOLE = (1 << 64) - 1
ONES = 0xFFFFFFFF
CORE = errors.CORE
SERIAL, PIC, PIT_2, KEYBOARD = 0x3F8, 0x20, 0x42, 0x60
CONFIG_ADDRESS, CONFIG_DATA = 0xCF8, 0xCFC
FS_BASE, GS_BASE, KERNEL_GS_BASE = 0xC0000100, 0xC0000101, 0xC0000102
TSC, TSC_AUX, APIC_BASE, PAT, EFER = 0x10, 0xC0000103, 0x1B, 0x277, 0xC0000080
HYPERCALL_PAGE, MISC_ENABLE, HWCR, DE_CFG = 0x40000000, 0x1A0, 0xC0010015, 0xC0011029
GUEST_PAT = 0x0000050100070406
OSXSAVE, TS, MP = 1 << 18, 1 << 3, 1 << 1

WRMSR, RDMSR = b"\x0f\x30", b"\x0f\x32"
XSETBV, RDTSCP = b"\x0f\x01\xd1", b"\x0f\x01\xf9"
FORCED_CPUID = b"\x0f\x0bxen\x0f\xa2"
IN_AL_DX, IN_EAX_DX, OUT_DX_AL = b"\xec", b"\xed", b"\xee"


@pytest.fixture
def guest(machine):
    """An unprivileged kernel that handles its exceptions."""
    return Executor(machine, machine.guests[0])


@pytest.fixture
def dom0(machine):
    """Domain 0's kernel."""
    return Executor(machine, machine.dom0)


def iopl(who, level):
    """Let a vCPU set its I/O privilege level."""
    at = who.guest.put(abi.physdev_set_iopl, iopl=level)
    assert who.guest.call(abi.__HYPERVISOR_physdev_op, abi.PHYSDEVOP_set_iopl, at) == 0


def open_ports(who, bitmap, nr_ports=0x10000):
    """Let a vCPU name a bitmap of ports for its user mode."""
    at = who.guest.put(abi.physdev_set_iobitmap, bitmap=bitmap, nr_ports=nr_ports)
    assert who.guest.call(abi.__HYPERVISOR_physdev_op, abi.PHYSDEVOP_set_iobitmap, at) == 0


def rdmsr(who, msr):
    """Return an MSR, None where reading faults."""
    outcome = who.privileged(RDMSR, rcx=msr, rax=WHOLE, rdx=WHOLE)
    regs = who.v.regs
    if outcome == GP:
        assert (regs.rax, regs.rdx) == (WHOLE, WHOLE), "a fault changes nothing"
        return None
    assert outcome == "done" and regs.rax >> 32 == regs.rdx >> 32 == 0
    return regs.rdx << 32 | regs.rax


def wrmsr(who, msr, value):
    """Return whether an MSR takes a value."""
    outcome = who.privileged(WRMSR, rcx=msr, rax=value & ONES, rdx=value >> 32)
    assert outcome in ("done", GP)
    return outcome == "done"


def interrupted_rcx(who):
    """Return what rcx was as an exception came."""
    return who.guest.words(who.v.regs.rsp, 1)[0]


ALWAYS = [b"\x0f\x06", b"\x0f\x09", b"\x0f\x31", b"\x0f\x20\xd8", b"\x0f\x21\xf9", b"\x0f\xa2"]


@pytest.mark.parametrize("code", ALWAYS, ids=bytes.hex)
def test_a_kernel_may_and_user_mode_may_not(guest, code):
    """clts, wbinvd, rdtsc, a control register, a debug register, cpuid."""
    assert guest.privileged(code) == "done"
    guest.enter_user_mode()
    assert guest.privileged(code) == GP


@pytest.mark.parametrize(
    "code",
    [
        *(b"\xf4", b"\x0f\x08", b"\x0f\x01\xc8", b"\x0f\x01\x10", b"\x0f\x01\xd0"),
        *(b"\xf0\x0f\x06", b"\x0f\x20\x18", b"\x0f\x20\xc8", b"\x0f\x22\xc8", b"\x0f\x22\xe8"),
        *(b"\x0f\x21\x23", b"\x90"),
    ],
    ids=bytes.hex,
)
def test_what_is_not_emulated_is_the_guests_fault(guest, code):
    """hlt, invd, monitor, lgdt, xgetbv; lock, memory operands, cr1, cr5."""
    assert guest.privileged(code) == GP


@pytest.mark.parametrize("code", [*ALWAYS, WRMSR, b"\x66\xe5\x70", b"\x41\x0f\x20\xe3"])
def test_half_an_instruction_is_a_fault(guest, code):
    """The rest would be on a page that is not there."""
    at = DATA + PAGE - len(code) + 1
    call = (abi.__HYPERVISOR_update_va_mapping, DATA + PAGE, 0, abi.UVMF_INVLPG)
    assert guest.guest.call(*call) == 0
    iopl(guest, 1)
    assert guest.privileged(code[:-1], at=at) == GP
    assert guest.privileged(code, at=at - 1, rcx=HWCR) == "done"


def test_code_that_cannot_be_read(guest):
    assert guest.privileged(b"", at=NOTHING_MAPPED) == GP
    assert guest.privileged(b"", at=CORE) == GP
    assert guest.execute(b"", UD, 0, at=NOTHING_MAPPED) == UD


def test_rex_prefixes_belong_to_long_mode(guest):
    """41 0f 20 e3 reads cr4 into r11; for 32-bit user code 41 is an instruction, not a prefix."""
    assert guest.privileged(b"\x41\x0f\x20\xe3", r11=0) == "done"
    assert guest.v.regs.r11 != 0
    assert guest.privileged(b"\x41\x0f\x20\xe3", cs=abi.FLAT_RING3_CS32) == "done", "a kernel's"
    iopl(guest, 3)
    guest.enter_user_mode()
    for cs in (abi.FLAT_RING3_CS32, 0x23):
        assert guest.privileged(b"\x41\xec", cs=cs) == GP
        guest.enter_user_mode()
    assert guest.privileged(b"\x41\xec", cs=abi.FLAT_USER_CS64) == "done"


@pytest.mark.parametrize(("level", "outcome"), [(0, GP), (1, "done"), (3, "done")])
@pytest.mark.parametrize("code", [b"\xfa", b"\xfb", IN_AL_DX, OUT_DX_AL, b"\xe4\x60", b"\xe6\x60"])
def test_the_io_privilege_level_of_a_kernel(guest, level, outcome, code):
    """It counts as ring 1."""
    iopl(guest, level)
    assert guest.privileged(code, rdx=KEYBOARD) == outcome


def test_a_string_instruction_needs_the_level_too(guest):
    for code in (b"\x6c", b"\x6e"):
        assert guest.privileged(code, rdx=KEYBOARD, rdi=DATA, rsi=DATA) == GP
    iopl(guest, 1)
    for code in (b"\x6c", b"\x6e"):
        assert guest.privileged(code, rdx=KEYBOARD, rdi=DATA, rsi=DATA) == "done"
        assert guest.privileged(b"\x67" + code, rdx=KEYBOARD, rdi=DATA, rsi=DATA) == GP


def test_user_mode_has_the_ports_of_its_bitmap(guest):
    """A bit for each; a bitmap that cannot be read opens nothing."""
    guest.guest.write(DATA, bytes([0xFF] * 12 + [0xFE]) + bytes([0xFF] * 100))
    open_ports(guest, DATA)
    guest.enter_user_mode()
    expected = {0x60: "done", 0x61: GP}
    for port, outcome in expected.items():
        assert guest.privileged(IN_AL_DX, rdx=port) == outcome
        if outcome == GP:
            guest.enter_user_mode()
    assert guest.privileged(IN_EAX_DX, rdx=0x60) == GP
    guest.v.io_bitmap = NOTHING_MAPPED
    guest.enter_user_mode()
    assert guest.privileged(IN_AL_DX, rdx=0x60) == GP


def test_the_end_of_a_bitmap(guest):
    """Ports from `nr_ports` on are closed, whatever lies behind."""
    guest.guest.write(DATA, bytes(64))
    open_ports(guest, DATA, 0x61)
    guest.enter_user_mode()
    assert guest.privileged(IN_AL_DX, rdx=0x60) == "done"
    assert guest.privileged(IN_AL_DX, rdx=0x61) == GP


def test_a_repeated_string_stops_where_memory_ends(guest):
    """With as many repeats done as were, and never beyond 64 at once."""
    iopl(guest, 1)
    regs = guest.v.regs
    assert guest.privileged(b"\xf3\x6c", rcx=65, rdi=DATA, rdx=KEYBOARD) == "again"
    assert (regs.rcx, regs.rdi) == (1, DATA + 64)
    assert guest.privileged(b"\xf3\x6c", rcx=1, rdi=DATA + 64, rdx=KEYBOARD) == "done"
    assert guest.guest.words(DATA, 9) == [WHOLE] * 8 + [0xFF]
    assert guest.privileged(b"\xf3\x6d", rcx=9, rdi=CORE, rdx=KEYBOARD) == GP
    assert (interrupted_rcx(guest), regs.rdi) == (9, CORE)
    assert guest.privileged(b"\xf3\x6f", rcx=9, rsi=NOTHING_MAPPED, rdx=KEYBOARD) == GP
    assert (interrupted_rcx(guest), regs.rsi) == (9, NOTHING_MAPPED)
    assert guest.privileged(b"\x6f", rsi=NOTHING_MAPPED, rdx=KEYBOARD) == GP
    assert guest.privileged(b"\x6d", rdi=NOTHING_MAPPED, rdx=KEYBOARD) == GP
    assert regs.rdi == NOTHING_MAPPED


BASES = (FS_BASE, GS_BASE, KERNEL_GS_BASE)
READABLE = [*BASES, EFER, TSC, APIC_BASE, PAT, MISC_ENABLE, DE_CFG, HWCR, HYPERCALL_PAGE]


@pytest.mark.parametrize("msr", READABLE, ids=hex)
def test_an_msr_that_exists(guest, msr):
    assert rdmsr(guest, msr) is not None


@pytest.mark.parametrize("msr", [0, 0x11, 0x174, 0xC0000081, 0xC0000082, 0x1234], ids=hex)
def test_an_msr_that_does_not(guest, msr):
    """Neither for reading nor for writing, not even 0."""
    assert rdmsr(guest, msr) is None
    assert not wrmsr(guest, msr, 0)


def test_what_may_be_written_only_as_it_is(guest):
    """PAT takes its own value, and no other; the TSC none at all."""
    assert rdmsr(guest, PAT) == GUEST_PAT
    assert wrmsr(guest, PAT, GUEST_PAT) and not wrmsr(guest, PAT, GUEST_PAT + 1)
    clock = guest.machine["tests.model.processors.clock"]
    assert not any(wrmsr(guest, TSC, clock.value + n) for n in (0, 20, 40, 60))
    for msr in (MISC_ENABLE, HWCR, DE_CFG):
        assert wrmsr(guest, msr, 77), "swallowed"


@pytest.mark.parametrize("msr", BASES, ids=hex)
def test_bases_must_be_canonical(guest, msr):
    assert wrmsr(guest, msr, DATA)
    assert not wrmsr(guest, msr, BENT)
    v = guest.v
    assert DATA in (v.fs_base, v.gs_base_kernel, v.gs_base_user)
    assert BENT not in (v.fs_base, v.gs_base_kernel, v.gs_base_user)


def test_rdtscp_and_its_msr_come_together(guest):
    """What the processor has; 32 bits."""
    has = guest.machine["kernel.x86.features.has_rdtscp"]
    assert rdmsr(guest, TSC_AUX) is None and not wrmsr(guest, TSC_AUX, 5)
    assert guest.v.tsc_aux == 0
    has.value = True
    assert wrmsr(guest, TSC_AUX, 5) and rdmsr(guest, TSC_AUX) == 5
    assert not wrmsr(guest, TSC_AUX, 1 << 32 | 5)
    assert guest.privileged(RDTSCP, rcx=0) == "done" and guest.v.regs.rcx == 5
    has.value = False


def test_a_hypercall_page_is_filled_in_an_own_frame_only(guest):
    """Not at an odd address, in a page table, or in another's."""
    own, table = guest.guest.pages[21], guest.guest.pages[3]
    foreign = guest.machine.guests[1].pages[21]
    assert wrmsr(guest, HYPERCALL_PAGE, own << 12)
    assert guest.guest.words(DATA, 1) != [0]
    before = [guest.machine.frame(mfn).info for mfn in (own, table, foreign)]
    for value in (own << 12 | 8, table << 12, foreign << 12, 1 << 40):
        assert not wrmsr(guest, HYPERCALL_PAGE, value)
    assert [guest.machine.frame(mfn).info for mfn in (own, table, foreign)] == before
    assert guest.machine.memory.page(foreign)[0] == 0


def test_cr0_changes_by_ts_alone(guest):
    """0f 22 c0: mov cr0, rax."""
    assert guest.privileged(b"\x0f\x20\xc0") == "done"
    cr0 = guest.v.regs.rax
    assert guest.privileged(b"\x0f\x22\xc0", rax=cr0 | TS) == "done" and guest.v.fpu_ts
    assert guest.privileged(b"\x0f\x20\xc0") == "done" and guest.v.regs.rax == cr0 | TS
    assert guest.privileged(b"\x0f\x22\xc0", rax=cr0 ^ MP) == GP
    assert guest.privileged(b"\x0f\x06") == "done" and not guest.v.fpu_ts


def test_cr3_takes_an_l4_of_its_own(guest):
    """0f 22 d8: mov cr3, rax."""
    l4, other = guest.guest.pages[0], guest.machine.guests[1].pages[0]
    for mfn, outcome in {l4: "done", other: GP, guest.guest.pages[12]: GP, 1 << 30: GP}.items():
        assert guest.privileged(b"\x0f\x22\xd8", rax=mfn << 12) == outcome
        assert guest.v.guest_table == l4


def test_cr3_is_loaded_again_after_an_interrupt(machine, guest):
    """Validation that is interrupted leaves rip where it is, and goes on from there."""
    tree(machine)
    l4 = guest.guest.pages[TREE_L4]
    machine.preempt(1 << 1 | 1)
    outcomes = [guest.privileged(b"\x0f\x22\xd8", rax=l4 << 12) for _ in range(3)]
    assert outcomes == ["again", "again", "done"]
    assert guest.v.guest_table == l4


def test_xsetbv_needs_osxsave_and_a_value_that_the_processor_takes(guest):
    """As CR4 shows it; XCR0 alone exists."""
    features, fpu = "kernel.x86.features.has_xsave", "kernel.x86.fpu.xcr0_mask"
    guest.machine[features].value, guest.machine[fpu].value = True, 7
    set_cr4 = b"\x0f\x22\xe0"
    assert guest.privileged(set_cr4, rax=0) == "done"
    assert guest.privileged(XSETBV, rax=3, rdx=0, rcx=0) == GP
    assert guest.privileged(set_cr4, rax=OSXSAVE) == "done"
    assert guest.privileged(XSETBV, rax=3, rdx=0, rcx=0) == "done"
    assert guest.v.xcr0 == 3
    for wrong in ({"rcx": 1}, {"rax": 2}, {"rax": 5}, {"rax": 1 << 9 | 3}, {"rdx": 1}):
        assert guest.privileged(XSETBV, **({"rax": 3, "rdx": 0, "rcx": 0} | wrong)) == GP
        assert guest.v.xcr0 == 3
    guest.machine[features].value = False
    assert guest.privileged(XSETBV, rax=3, rdx=0, rcx=0) == GP


def test_debug_registers_of_the_core_are_refused(guest):
    """0f 23 c0: mov dr0, rax; 0f 23 f8: mov dr7, rax. No breakpoint in the core, no trap on mov."""
    assert guest.privileged(b"\x0f\x23\xc0", rax=DATA) == "done"
    assert guest.privileged(b"\x0f\x23\xc0", rax=CORE) == GP
    assert guest.v.debugreg[0] == DATA
    assert guest.privileged(b"\x0f\x23\xf8", rax=0x401) == "done"
    for wrong in (1 << 32, 1 << 13, 2 << 16 | 2):
        assert guest.privileged(b"\x0f\x23\xf8", rax=wrong) == GP


def test_forced_cpuid(guest):
    """#UD with the prefix is CPUID; with any byte of it changed it is a #UD."""
    assert guest.execute(FORCED_CPUID, UD, 0, rax=0x40000000, rcx=0) == "done"
    assert guest.v.regs.rbx == 0x566E6558
    assert guest.execute(b"", UD, 0, at=NOTHING_MAPPED) == UD, "what was read before is no code"
    for place in range(2, len(FORCED_CPUID)):
        code = bytearray(FORCED_CPUID)
        code[place] ^= 1
        assert guest.execute(bytes(code), UD, 0) == UD


def test_single_steps_end_behind_the_instruction(guest):
    """TF asks for a #DB there."""
    assert guest.privileged(b"\x0f\x06", rflags=FLAGS | 1 << 8) == 1
    frame = guest.guest.words(guest.v.regs.rsp, 3)
    assert frame[2] == CODE + 2


PORTS = [
    (SERIAL, "the console's own"),
    (SERIAL + 7, "the console's own"),
    (PIC, "the core's"),
    (CONFIG_ADDRESS, "only whole"),
    (CONFIG_ADDRESS + 3, "only whole"),
]


def test_domain_0_has_the_ports_but_the_cores(machine, dom0):
    """The model's ports answer with ones; what is written is the machine's business."""
    machine["kernel.console.uart.is_present"].value = True
    iopl(dom0, 1)
    for port, _ in PORTS:
        assert dom0.privileged(IN_AL_DX, rdx=port, rax=0) == "done"
        assert dom0.v.regs.rax == 0xFF


def test_other_domains_find_an_empty_bus(guest):
    """And a timer that stands still."""
    iopl(guest, 1)
    for port, value in {KEYBOARD: 0xFF, PIT_2: 0}.items():
        assert guest.privileged(IN_AL_DX, rdx=port, rax=0x1234) == "done"
        assert guest.v.regs.rax == 0x1200 | value
    assert guest.privileged(b"\x66\xed", rdx=KEYBOARD, rax=0) == "done"
    assert guest.v.regs.rax == 0xFFFF
