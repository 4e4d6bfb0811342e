"""Page faults that the core repairs, executed in the model: writes of a guest kernel to its page
tables, and the lazy mapping of its LDT. Everything else is the guest's own fault.
"""

import abi
import pytest

from tests.model import errors, invariants
from tests.model.execute import CODE, NOTHING_MAPPED, PF, STACK, Executor
from tests.model.guest import BASE, FIRST_DATA_PAGE, PAGE, PRESENT, USER, WRITE

UPDATE_VA, MMUEXT_OP = abi.__HYPERVISOR_update_va_mapping, abi.__HYPERVISOR_mmuext_op
ASSIST = abi.__HYPERVISOR_vm_assist
PFEC_PRESENT, PFEC_WRITE, PFEC_USER, PFEC_RESERVED, PFEC_FETCH = (1 << n for n in range(5))
WRITE_FAULT = PFEC_PRESENT | PFEC_WRITE | PFEC_USER
CACHE_DISABLE = 1 << 4  # only for who has device memory
L4, L3, L2, L1 = range(4)  # the guest's first pages
SLOT = FIRST_DATA_PAGE  # of the L1: where that page is mapped
ENTRY = BASE + L1 * PAGE + 8 * SLOT
STORE = b"\x48\x89\x07"  # mov [rdi], rax
STORE_32 = b"\x89\x07"
STORE_8 = b"\xc6\x07\x00"  # mov byte [rdi], 0
CMPXCHG = b"\xf0\x48\x0f\xb1\x17"  # lock cmpxchg [rdi], rdx
FORMS = {  # one that is emulated, of every kind: ModRM, SIB, displacements, immediates, prefixes
    "mov": STORE,
    "mov imm32": b"\x48\xc7\x07\x00\x00\x00\x00",
    "mov disp8": b"\x48\x89\x47\x00",
    "mov disp32": b"\x48\x89\x87\x00\x00\x00\x00",
    "mov sib": b"\x48\x89\x04\x27",
    "and imm8": b"\xf0\x48\x83\x27\xff",
    "and imm32": b"\xf0\x48\x81\x27\xff\xff\xff\x7f",
    "btr imm8": b"\xf0\x48\x0f\xba\x37\x05",
    "cmpxchg": CMPXCHG,
}


@pytest.fixture
def guest(machine):
    """A kernel that handles its faults, and wants its writes to page tables emulated."""
    guest = Executor(machine, machine.guests[0])
    command = (abi.VMASST_CMD_enable, abi.VMASST_TYPE_writable_pagetables)
    assert guest.guest.call(ASSIST, *command) == 0
    return guest


def usual(guest):
    """Return the entry that maps the data page, as it is."""
    return guest.guest.pages[SLOT] << 12 | PRESENT | WRITE | USER


def entry(guest, slot=SLOT):
    """Return an entry of the guest's L1."""
    return guest.machine.memory.page(guest.guest.pages[L1])[slot]


def store(guest, code=STORE, at=ENTRY, error=WRITE_FAULT, **registers):
    """Execute a write to a page table that faults."""
    return guest.execute(code, PF, error, cr2=at, **({"rdi": at} | registers))


def remap(guest, number, flags):
    """Change how the guest's page is mapped."""
    value = guest.guest.pages[number] << 12 | flags if flags else 0
    assert guest.guest.call(UPDATE_VA, BASE + number * PAGE, value, abi.UVMF_INVLPG) == 0


def test_a_write_changes_the_entry(guest):
    """And what is checked in a requested update is checked here."""
    assert store(guest, rax=0) == "done"
    assert entry(guest) == 0
    assert store(guest, rax=usual(guest)) == "done"
    assert entry(guest) & ~0x60 == usual(guest)
    foreign = guest.machine.guests[1].pages[SLOT] << 12 | 7
    own_table = guest.guest.pages[L2] << 12 | 7
    for wrong in (foreign, own_table, errors.CORE | 7, usual(guest) | CACHE_DISABLE):
        before = entry(guest)
        assert store(guest, rax=wrong) == PF
        assert entry(guest) == before
    invariants.check(guest.machine)


@pytest.mark.parametrize("form", FORMS)
def test_forms(guest, form):
    """Each is emulated where all of it can be read, and is a fault where it goes on elsewhere."""
    code = FORMS[form]
    registers = {"rax": usual(guest), "rdx": usual(guest)}
    assert store(guest, code, **registers) == "done"
    remap(guest, 22, 0)
    end = BASE + 22 * PAGE
    guest.guest.write(end - len(code) + 1, code[:-1])
    for missing in range(1, len(code)):
        guest.guest.write(end - len(code) + missing, code[:-missing])
        at = end - len(code) + missing
        outcome = guest.execute(b"", PF, WRITE_FAULT, cr2=ENTRY, at=at, rdi=ENTRY, **registers)
        assert outcome == PF, f"{missing} bytes are missing"


@pytest.mark.parametrize(
    "code",
    [b"\x90", b"\x48\x8b\x07", b"\x48\x01\x07", b"\x67\x48\x89\x07", b"\x48\x89\xc7", b"\x0f\x0b"],
    ids=bytes.hex,
)
def test_what_is_no_write_is_a_fault(guest, code):
    """nop, a load, add, a 32-bit address, no memory operand, #UD."""
    before = entry(guest)
    assert store(guest, code, rax=0) == PF
    assert entry(guest) == before


@pytest.mark.parametrize("place", range(8))
def test_an_operand_across_entries_is_a_fault(guest, place):
    """A byte may be anywhere in an entry; what would reach into the next is refused."""
    value = usual(guest) & ~(0xFF << 8 * place) >> 8 * place
    assert store(guest, STORE_32, ENTRY + place, rax=value) in ("done", PF)
    if place > 4:
        before = (entry(guest), entry(guest, SLOT + 1))
        assert store(guest, STORE_32, ENTRY + place, rax=0) == PF
        assert (entry(guest), entry(guest, SLOT + 1)) == before
    assert store(guest, STORE_8, ENTRY) == "done"


def test_the_kernel_must_have_asked_for_it(guest):
    command = (abi.VMASST_CMD_disable, abi.VMASST_TYPE_writable_pagetables)
    assert guest.guest.call(ASSIST, *command) == 0
    assert store(guest, rax=0) == PF
    assert entry(guest) & ~0x60 == usual(guest)


@pytest.mark.parametrize(
    "error",
    [
        PFEC_USER | PFEC_PRESENT,
        PFEC_USER | PFEC_WRITE,
        WRITE_FAULT | PFEC_RESERVED,
        WRITE_FAULT | PFEC_FETCH,
    ],
)
def test_only_writes_to_what_is_mapped(guest, error):
    before = entry(guest)
    assert store(guest, rax=0, error=error) == PF
    assert entry(guest) == before


def test_user_mode_writes_to_no_table(guest):
    guest.guest.write(CODE, STORE)
    guest.enter_user_mode()
    assert store(guest, b"", rax=0) == PF
    assert entry(guest) & ~0x60 == usual(guest)


def test_only_tables_of_the_lowest_level(guest):
    """The guest must ask for changes of the others."""
    for level, slot in ((L4, 5), (L3, 5), (L2, 5)):
        page = guest.machine.memory.page(guest.guest.pages[level])
        assert store(guest, at=BASE + level * PAGE + 8 * slot, rax=0) == PF
        assert page[slot] == 0


def test_a_table_that_is_none_any_more(guest):
    """A frame that was an L1 once, mapped read-only: the guest can make it writable itself."""
    remap(guest, SLOT, PRESENT | USER)
    for command in (abi.MMUEXT_PIN_L1_TABLE, abi.MMUEXT_UNPIN_TABLE):
        mfn = guest.guest.pages[SLOT]
        at = guest.guest.put(abi.mmuext_op, cmd=command, arg1={"mfn": mfn})
        assert guest.guest.call(MMUEXT_OP, at, 1, 0, abi.DOMID_SELF) == 0
    assert store(guest, at=BASE + SLOT * PAGE, rax=0x1234) == PF
    assert guest.guest.words(BASE + SLOT * PAGE, 1) == [0]


def test_what_is_writable_or_absent_is_no_table(guest):
    """A spurious fault, one without an entry, and one whose entry is not in force."""
    absent = guest.guest.pages[L1] << 12
    assert guest.guest.call(UPDATE_VA, BASE + 26 * PAGE, absent, abi.UVMF_INVLPG) == 0
    assert store(guest, at=BASE + 26 * PAGE + 8 * SLOT, rax=0) == PF
    assert entry(guest) & ~0x60 == usual(guest)
    for at in (BASE + SLOT * PAGE, NOTHING_MAPPED, 0, 1 << 46, BASE - PAGE):
        assert store(guest, at=at, rax=0) == PF


def test_a_table_of_another_domain(guest):
    """Domain 0 maps one for reading: it is not its own."""
    machine = guest.machine
    dom0 = Executor(machine, machine.dom0)
    assert dom0.guest.call(ASSIST, abi.VMASST_CMD_enable, abi.VMASST_TYPE_writable_pagetables) == 0
    table = machine.guests[0].pages[L1]
    call = abi.__HYPERVISOR_update_va_mapping_otherdomain
    at = BASE + 25 * PAGE
    assert dom0.guest.call(call, at, table << 12 | 5, abi.UVMF_INVLPG, machine.guests[0].id) == 0
    before = bytes(machine.memory.page(table))
    assert store(dom0, at=at + 8 * SLOT, rax=0) == PF
    assert bytes(machine.memory.page(table)) == before


def test_device_memory_that_may_only_be_read(machine):
    """Domain 0 steps over its writes to an I/O APIC; other faults there are its own."""
    machine["kernel.x86.features.max_physical_bits"].value = 46
    io_apic, device = 0xFEC00, 0xFED00
    machine["kernel.frames.iomem.restrict_io_frames"](io_apic, io_apic + 1, 1)
    dom0 = Executor(machine, machine.dom0)
    at = BASE + 25 * PAGE
    for frame, outcome in {io_apic: "done", device: PF}.items():
        assert dom0.guest.call(UPDATE_VA, at, frame << 12 | 5, abi.UVMF_INVLPG) == 0
        assert store(dom0, at=at, rax=0) == outcome
        assert store(dom0, b"\x90", at=at) == PF
    assert dom0.guest.call(UPDATE_VA, at, io_apic << 12 | 7, abi.UVMF_INVLPG) == 0
    found = machine.memory.page(machine.dom0.pages[L1])[25]
    assert found & WRITE == 0, "a mapping for writing becomes one for reading"


# The LDT


def window(guest):
    """Return where the vCPU's LDT is shown."""
    return guest.machine["kernel.x86.perdomain.ldt_window"](guest.v)


@pytest.fixture
def with_ldt(guest):
    """A guest whose LDT lies in two pages, of which it has one mapped: 512 + 256 descriptors."""
    for number in (18, 19):
        remap(guest, number, PRESENT | USER)
    set_ldt(guest, 18)
    return guest


def set_ldt(guest, number):
    """Let an LDT of 768 descriptors begin with a page of the guest's."""
    fields = {"cmd": abi.MMUEXT_SET_LDT, "arg1": {"linear_addr": BASE + number * PAGE}}
    at = guest.guest.put(abi.mmuext_op, arg2={"nr_ents": 768}, **fields)
    assert guest.guest.call(MMUEXT_OP, at, 1, 0, abi.DOMID_SELF) == 0


def touch(guest, offset, error=0):
    """Let the processor look for a descriptor that is not mapped."""
    return guest.execute(b"\x90", PF, error, cr2=window(guest) + offset)


def told_address(guest):
    """Return the address of the fault that the guest's kernel was told."""
    return guest.v.vcpu_info.arch.cr2


def test_pages_of_an_ldt_are_mapped_as_they_are_used(with_ldt):
    guest = with_ldt
    assert touch(guest, 8) == "again"
    assert guest.v.ldt_frames[0] == guest.guest.pages[18]
    assert touch(guest, PAGE) == "again"
    assert guest.v.ldt_frames[1] == guest.guest.pages[19]
    invariants.check(guest.machine)


def test_behind_its_end_an_ldt_faults_where_it_would_be(with_ldt):
    """Also in a page that is there already, and where nothing is mapped."""
    guest = with_ldt
    for offset in (768 * 8, 2 * PAGE, 16 * PAGE - 8):
        assert touch(guest, offset) == PF
        assert told_address(guest) == BASE + 18 * PAGE + offset
    assert touch(guest, 0) == "again"
    assert touch(guest, 0) == PF, "the page is there already"
    absent = guest.guest.pages[19] << 12
    assert guest.guest.call(UPDATE_VA, BASE + 19 * PAGE, absent, abi.UVMF_INVLPG) == 0
    assert touch(guest, PAGE) == PF
    assert told_address(guest) == BASE + 19 * PAGE
    assert guest.v.ldt_frames[1] is None


def test_an_ldt_below_no_table(guest):
    """Its address may have no page table at all."""
    fields = {"cmd": abi.MMUEXT_SET_LDT, "arg1": {"linear_addr": 1 << 40}}
    at = guest.guest.put(abi.mmuext_op, arg2={"nr_ents": 8}, **fields)
    assert guest.guest.call(MMUEXT_OP, at, 1, 0, abi.DOMID_SELF) == 0
    assert touch(guest, 0) == PF
    assert told_address(guest) == 1 << 40


def test_faults_beside_the_window_are_the_guests(with_ldt):
    """And those that its own code raises there, or that say that a table is malformed."""
    guest = with_ldt
    beside = (-8, 16 * PAGE)
    for offset in beside:
        assert touch(guest, offset) == PF
        assert told_address(guest) == (window(guest) + offset)
    for error in (PFEC_USER, PFEC_RESERVED):
        assert touch(guest, 0, error) == PF
        assert told_address(guest) == window(guest)
    assert guest.v.ldt_frames[0] is None


def test_a_stack_that_cannot_take_the_fault_ends_the_domain(guest):
    """STACK is all that the guest gives; without it there is nobody to tell."""
    assert STACK > BASE
    remap(guest, 8, PRESENT | USER)
    regs = guest.v.regs
    regs.rip, regs.rsp = CODE, STACK
    guest.machine["tests.model.drive.trap"](guest.v, PF, WRITE_FAULT, NOTHING_MAPPED)
    assert guest.guest.domain.is_shut_down and guest.guest.domain.shutdown_code == 3


def test_an_ldt_stays_while_mappings_of_other_frames_go(with_ldt):
    """A page table's, and one of what was an LDT before; it goes with a mapping of its own."""
    guest = with_ldt
    table = guest.guest.pages[L1] << 12 | PRESENT | USER
    assert guest.guest.call(UPDATE_VA, BASE + 25 * PAGE, table, abi.UVMF_INVLPG) == 0
    for number in (19, 18):
        set_ldt(guest, number)
        assert touch(guest, 0) == "again"
    frame = guest.v.ldt_frames[0]
    remap(guest, 19, 0)
    remap(guest, 25, 0)
    assert guest.v.ldt_frames[0] == frame
    remap(guest, 18, 0)
    assert guest.v.ldt_frames[0] is None
    invariants.check(guest.machine)
