"""Domains, vCPUs and physical CPUs for gdb, out of the stopped core's memory."""

import abi
import gdb
from proxen_frames import read_guest_word
from proxen_printers import block_at, symbol_at

from kernel.state.vcpu import VPF_blocked, VPF_down
from kernel.x86.memlayout import PERCPU_VIRT_START
from kernel.x86.percpu import AREA_BYTES

FRAMES_MAX = 40
STACK_WORDS = 16  # in which an assembly routine finds its caller


def pointer(value):
    """Return what a pointer leads to, None for a null one."""
    return value.dereference() if int(value) else None


def all_domains():
    """Yield every domain, by rising id."""
    domain = pointer(gdb.parse_and_eval("domain_table")["first"])
    while domain is not None:
        yield domain
        domain = pointer(domain["list_next"])


def find_domain(number):
    """Return one domain. Errors: gdb.GdbError, there is none."""
    for domain in all_domains():
        if int(domain["domain_id"]) == number:
            return domain
    known = ", ".join(str(int(domain["domain_id"])) for domain in all_domains())
    raise gdb.GdbError(f"there is no domain {number}; there are: {known or 'none yet'}")


def vcpus_of(domain):
    """Yield the vCPUs of a domain."""
    for number in range(int(domain["max_vcpus"])):
        vcpu = pointer(domain["vcpus"][number])
        if vcpu is not None:
            yield vcpu


def find_vcpu(text):
    """Return the vCPU that DOMAIN.VCPU names. Errors: gdb.GdbError."""
    domain_text, _, vcpu_text = text.partition(".")
    try:
        domain, number = find_domain(int(domain_text.lstrip("d"), 0)), int(vcpu_text or "0", 0)
    except ValueError:
        raise gdb.GdbError(f"'{text}' names no vCPU; write DOMAIN.VCPU, such as 1.0") from None
    for vcpu in vcpus_of(domain):
        if int(vcpu["vcpu_id"]) == number:
            return vcpu
    raise gdb.GdbError(f"domain {domain_text} has no vCPU {number}")


def name_of(vcpu):
    """Return a vCPU's name, such as d1v0."""
    return f"d{int(vcpu['domain']['domain_id'])}v{int(vcpu['vcpu_id'])}"


def state_of(vcpu):
    """Say in a few words what a vCPU does."""
    flags = int(vcpu["pause_flags"])
    if flags & VPF_down:
        return "down"
    if int(vcpu["is_running"]):
        return f"running on CPU {int(vcpu['processor'])}"
    reasons = ["blocked"] if flags & VPF_blocked else []
    if int(vcpu["pause_count"]) or int(vcpu["domain"]["pause_count"]):
        reasons.append("paused")
    if int(vcpu["sched"]["is_queued"]):
        reasons.append("waits for a CPU")
    return ", ".join(reasons) or "between states"


def guest_thread(vcpu):
    """Return gdb's thread of the CPU that executes a vCPU's guest code right now, else None."""
    if not int(vcpu["is_running"]):
        return None
    number = int(vcpu["processor"]) + 1
    for thread in gdb.selected_inferior().threads():
        if thread.num == number and not in_core(thread_rip(thread)):
            return thread
    return None


def thread_rip(thread):
    """Return the instruction pointer of a physical CPU."""
    before = gdb.selected_thread()
    try:
        thread.switch()
        return int(gdb.parse_and_eval("$pc")) & (1 << 64) - 1
    finally:
        before.switch()


def in_core(address):
    """Tell whether an address is the core's, or from before there was one."""
    return abi.HYPERVISOR_VIRT_START <= address < abi.HYPERVISOR_VIRT_END


def rip_of(vcpu):
    """Return where a vCPU is in its guest: from the processor if it executes there."""
    thread = guest_thread(vcpu)
    return thread_rip(thread) if thread else int(vcpu["regs"]["rip"])


def backtrace_of(vcpu):
    """Yield the addresses of a guest's call chain, by frame pointers, from the saved registers."""
    regs = vcpu["regs"]
    tables = int(vcpu["guest_table"] if vcpu["kernel_mode"] else vcpu["guest_table_user"])
    rip, rsp = int(regs["rip"]), int(regs["rsp"])
    yield rip
    if block_at(rip) is None:
        yield from caller_of_assembly(tables, rsp)
    frame_pointer = int(regs["rbp"])
    for _ in range(FRAMES_MAX):
        if not frame_pointer or frame_pointer % 8:
            return
        caller = read_guest_word(tables, frame_pointer)
        rip = read_guest_word(tables, frame_pointer + 8)
        if caller is None or not rip or vcpu["kernel_mode"] and rip < abi.HYPERVISOR_VIRT_END:
            return  # no frame pointers here, or not any more
        yield rip
        if caller <= frame_pointer:
            return
        frame_pointer = caller


def caller_of_assembly(tables, rsp):
    """Yield the compiled function's address nearest on the stack, if there is one.

    Assembly such as the hypercall page makes no frame, so the chain begins at its caller's, and
    would leave the caller itself out.
    """
    for offset in range(0, 8 * STACK_WORDS, 8):
        word = read_guest_word(tables, rsp + offset)
        if word and block_at(word - 1) is not None:
            yield word
            return


def describe_place(address):
    """Return an address with its symbol."""
    place = symbol_at(address)
    return f"{address:#018x}" + (f" {place}" if place else "")


def pcpus():
    """Yield (number, Pcpu) of the started processors."""
    type_ = gdb.lookup_type("struct Pcpu").pointer()
    for number in range(int(gdb.parse_and_eval("nr_cpus"))):
        yield number, gdb.Value(PERCPU_VIRT_START + number * AREA_BYTES).cast(type_).dereference()
