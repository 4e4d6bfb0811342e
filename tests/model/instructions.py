"""What stands for single instructions, for assembly, and for the local APIC (kernel Python).

Each function has the name of the one that it replaces; those of the `ignore` kind replace all that
IGNORED lists. State that decides what a guest can reach is modelled (CR3, the TLB, interrupts);
state that only the guest's own computing sees (FPU, debug registers, descriptor caches) is not.
"""

from kpy import Never, Ptr, bit, load, panic, store, u8, u16, u32, u64

from kernel.entry.hypercall import syscall_from_guest
from kernel.entry.trap import trap_from_guest
from kernel.irq.irq import interrupt_from_core, interrupt_from_guest
from kernel.state.vcpu import Vcpu
from kernel.x86.bits import CR0_TS
from kernel.x86.cpu import CpuidResult
from kernel.x86.memlayout import PERCPU_VIRT_START
from kernel.x86.percpu import AREA_BYTES, STACK_END
from tests.model import processors
from tests.model.drive import let_others_run
from tests.model.processors import (
    ASLEEP,
    GUEST_READ,
    GUEST_WRITE,
    IN_GUEST,
    INTERRUPT,
    PENDING_BYTES,
    SPINNING,
    Entry,
    before_model_access,
    forget_upper_entries,
    give_up,
    has_pending,
    highest_pending,
    pending_of,
    set_pending,
    take_pending,
    this_model_cpu,
)

TIME_OF_A_LOOK_NS = 20
SOME_VECTOR = 255

# Of kernel/x86, by what replaces them.
IGNORED = {
    "ignore": (
        "cpu.wbinvd cpu.disable_interrupts cpu.swapgs descriptors.reload_segments "
        "apic.apic_init apic.apic_timer_init"
    ),
    "ignore_u64": (
        "cpu.lgdt cpu.lidt cpu.write_dr0 cpu.write_dr1 cpu.write_dr2 cpu.write_dr3 cpu.write_dr6 "
        "cpu.write_dr7 cpu.fxsave"
    ),
    "ignore_selector": "cpu.lldt cpu.ltr",
    "ignore_save": "cpu.xsave cpu.xsaveopt",
    "ignore_registers": "cpu.xsetbv",
    "ignore_wrmsr": "cpu.wrmsr",
    "ignore_out8": "cpu.out8",
    "ignore_out16": "cpu.out16",
    "ignore_out32": "cpu.out32",
    "read_zero": "cpu.read_rbp cpu.read_dr6",
    "restore_area": "fpu.fxrstor_safe",
}


def ignore() -> None:
    pass


def ignore_u64(value: u64) -> None:
    pass


def ignore_selector(selector: u16) -> None:
    pass


def ignore_save(area: u64, low_mask: u32, high_mask: u32) -> None:
    pass


def ignore_registers(register: u32, low: u32, high: u32) -> None:
    pass


def ignore_wrmsr(msr: u32, value: u64) -> None:
    pass


def ignore_out8(port: u16, value: u8) -> None:
    pass


def ignore_out16(port: u16, value: u16) -> None:
    pass


def ignore_out32(port: u16, value: u32) -> None:
    pass


def read_zero() -> u64:
    return 0


def restore_area(area: u64) -> u64:
    return 0


# kernel/x86/cpu.py


def cpuid_into(leaf: u32, subleaf: u32, result: Ptr[CpuidResult]) -> None:
    store(result, CpuidResult())


def read_rsp() -> u64:
    """All that the core wants of it is to find the processor's area."""
    return PERCPU_VIRT_START + u64(processors.executing) * AREA_BYTES + STACK_END - 64


def read_cr0() -> u64:
    return this_model_cpu().cr0


def write_cr0(value: u64) -> None:
    this_model_cpu().cr0 = value


def clts() -> None:
    this_model_cpu().cr0 &= ~u64(CR0_TS)


def read_cr2() -> u64:
    return this_model_cpu().cr2


def read_cr3() -> u64:
    return this_model_cpu().cr3


def write_cr3(value: u64) -> None:
    """Forget every translation: guests have no global ones."""
    cpu = this_model_cpu()
    cpu.cr3 = value
    for translation in cpu.tlb:
        translation.is_valid = False
    forget_upper_entries(cpu)


def read_cr4() -> u64:
    return this_model_cpu().cr4


def write_cr4(value: u64) -> None:
    this_model_cpu().cr4 = value


def rdmsr(msr: u32) -> u64:
    return 0


def rdtsc() -> u64:
    processors.clock += TIME_OF_A_LOOK_NS
    return processors.clock


def invlpg(address: u64) -> None:
    """Forget one translation, and all upper entries (Intel SDM vol 3 4.10.4.1)."""
    for translation in this_model_cpu().tlb:
        if translation.page == address >> 12:
            translation.is_valid = False
    forget_upper_entries(this_model_cpu())


def pause() -> None:
    """Let the other processors go on, for one of which this one waits."""
    if processors.is_on_cpu_stack:
        give_up(SPINNING)
    else:
        let_others_run(processors.executing)


def wait_for_interrupt() -> None:
    """Sleep, and serve what ends the sleep."""
    cpu = this_model_cpu()
    while not has_pending(cpu):
        give_up(ASLEEP)
    interrupt_from_core(take_pending(cpu))


def halt() -> None:
    panic("a processor of the model halts")


def in8(port: u16) -> u8:
    return 0xFF


def in16(port: u16) -> u16:
    return 0xFFFF


def in32(port: u16) -> u32:
    return processors.bus_answer


def read_ds() -> u32:
    return this_model_cpu().selectors[0]


def read_es() -> u32:
    return this_model_cpu().selectors[1]


def read_fs() -> u32:
    return this_model_cpu().selectors[2]


def read_gs() -> u32:
    return this_model_cpu().selectors[3]


# fault_safe.asm, entry.asm, instructions.asm


def load_ds_safe(selector: u32) -> u64:
    this_model_cpu().selectors[0] = selector
    return 0


def load_es_safe(selector: u32) -> u64:
    this_model_cpu().selectors[1] = selector
    return 0


def load_fs_safe(selector: u32) -> u64:
    this_model_cpu().selectors[2] = selector
    return 0


def load_gs_safe(selector: u32) -> u64:
    this_model_cpu().selectors[3] = selector
    return 0


def load_user_gs_safe(selector: u32) -> u64:
    this_model_cpu().selectors[3] = selector
    return 0


def xrstor_safe(area: u64, mask: u64) -> u64:
    return 0


def guest_copy(to: u64, from_: u64, size: u64) -> u64:
    """Copy upwards, as `rep movs` does when the two overlap."""
    before_model_access(GUEST_READ, from_, u32(size))
    before_model_access(GUEST_WRITE, to, u32(size))
    for i in range(size):
        store(Ptr[u8](to + i), load(Ptr[u8](from_ + i)))
    return 0


def enter_guest(vcpu: Ptr[Vcpu]) -> Never:
    """Be in guest mode until something enters the core, for ever."""
    cpu = this_model_cpu()
    v = vcpu
    while True:
        cpu.vcpu = v
        give_up(IN_GUEST)
        match cpu.entry:
            case Entry.SYSCALL:
                v = syscall_from_guest(v)
            case Entry.TRAP:
                v = trap_from_guest(v, cpu.trap_vector)
            case _:
                v = interrupt_from_guest(v, take_pending(cpu))


# kernel/x86/power.py, kernel/x86/apic.py


def machine_restart() -> Never:
    panic("the machine restarts")


def machine_power_off() -> Never:
    panic("the machine is switched off")


def apic_eoi() -> None:
    processors.nr_eois += 1


def apic_send_ipi(destination: u32, vector: u32) -> None:
    before_model_access(INTERRUPT, u64(pending_of(destination)), PENDING_BYTES)
    set_pending(destination, vector)


def apic_send_nmi_to_others() -> None:
    panic("a processor stops the others")


def apic_pending_vector() -> u32:
    """Tell of what waits, or of an interrupt that the test's choices let come just now."""
    comes_now = processors.preempt_choices & bit(0) != 0
    processors.preempt_choices >>= 1
    return SOME_VECTOR if comes_now else highest_pending(this_model_cpu())


def apic_set_timer_deadline(deadline_ns: u64) -> None:
    this_model_cpu().deadline_ns = max(deadline_ns, 1)  # 0 says that none was ever set
