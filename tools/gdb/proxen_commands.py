"""`proxen …` in gdb: what the core knows, in the words of its own types."""

import atexit
import os
import shutil
import tempfile

import abi
import gdb
import proxen_names
from proxen_domains import (
    all_domains,
    backtrace_of,
    describe_place,
    find_domain,
    find_vcpu,
    guest_thread,
    in_core,
    name_of,
    pcpus,
    pointer,
    rip_of,
    state_of,
    thread_rip,
    vcpus_of,
)
from proxen_frames import describe_entry, frame_entry, translate, walk
from proxen_printers import symbol_at
from xm import kallsyms

CHANNELS_PER_PAGE = 256
CHANNEL_STATES = {
    value: name.removeprefix("EVTCHNSTAT_")
    for name, value in vars(abi).items()
    if name.startswith("EVTCHNSTAT_")
} | {255: "reserved"}
VIRQS = {
    value: name
    for name, value in vars(abi).items()
    if name.startswith("VIRQ_") and not name.startswith("VIRQ_ARCH")
}


class Proxen(gdb.Command):
    """Look into the Proxen core: `proxen help` lists what there is."""

    def __init__(self):
        super().__init__("proxen", gdb.COMMAND_DATA, gdb.COMPLETE_NONE, prefix=True)


class Subcommand(gdb.Command):
    """A command below `proxen`; its docstring is its help, `run` gets its words."""

    nr_words = (0, 0)
    completion = gdb.COMPLETE_NONE

    def __init__(self):
        self.name = type(self).__name__.lower()
        if hasattr(self, "complete"):
            super().__init__(f"proxen {self.name}", gdb.COMMAND_DATA)
        else:
            super().__init__(f"proxen {self.name}", gdb.COMMAND_DATA, self.completion)

    def invoke(self, text, from_tty):
        words = gdb.string_to_argv(text)
        least, most = self.nr_words
        if not least <= len(words) <= most:
            raise gdb.GdbError(f"usage: {self.__doc__.splitlines()[0]}")
        try:
            self.run(*words)
        except gdb.MemoryError as error:
            raise gdb.GdbError(f"{error}; has the core come up yet?") from None


def number_of(text):
    """Evaluate a number or expression of the user's."""
    return int(gdb.parse_and_eval(text)) & (1 << 64) - 1


class Help(Subcommand):
    """proxen help

    List these commands."""

    def run(self):
        for command in COMMANDS:
            usage, _, rest = command.__doc__.partition("\n")
            print(f"  {usage:<36}{rest.strip().splitlines()[0]}")


class Domains(Subcommand):
    """proxen domains

    List all domains: memory in pages, vCPUs, state."""

    def run(self):
        print(f"{'ID':>4} {'Pages':>9} {'vCPUs':>6} {'Refs':>5}  State")
        for domain in all_domains():
            words = [
                (int(domain["is_dying"]), "dying"),
                (int(domain["is_shut_down"]), f"shut down ({int(domain['shutdown_code'])})"),
                (int(domain["controller_pause_count"]), "paused"),
                (int(domain["debugger_attached"]), "debugged"),
            ]
            state = ", ".join(word for holds, word in words if holds) or "alive"
            numbers = (domain["domain_id"], domain["tot_pages"], domain["max_vcpus"])
            columns = [int(number) for number in (*numbers, domain["refcount"])]
            print("{:>4} {:>9} {:>6} {:>5}  {}".format(*columns, state))
            print(f"     {domain.address}")


class Vcpus(Subcommand):
    """proxen vcpus [DOMAIN]

    List vCPUs: state, mode, and where each is in its guest."""

    nr_words = (0, 1)

    def run(self, domain=None):
        for each in [find_domain(number_of(domain))] if domain else all_domains():
            for vcpu in vcpus_of(each):
                mode = "kernel" if vcpu["kernel_mode"] else "user"
                place = describe_place(rip_of(vcpu))
                print(f"{name_of(vcpu):<6} {state_of(vcpu):<18} {mode:<7} {place}")


class Cpus(Subcommand):
    """proxen cpus

    List physical CPUs: whose state each holds, and what it executes."""

    def run(self):
        threads = {thread.num - 1: thread for thread in gdb.selected_inferior().threads()}
        for number, cpu in pcpus():
            current = pointer(cpu["current"])
            rip = thread_rip(threads[number])
            what = "core" if in_core(rip) else "guest"
            loaded = name_of(current) if current is not None else "nobody"
            idle = ", idle" if int(cpu["is_lazy"]) else ""
            print(f"CPU {number}: {what}, state of {loaded}{idle}  {describe_place(rip)}")


class Frame(Subcommand):
    """proxen frame MFN

    Describe a machine frame: references, type, owner."""

    nr_words = (1, 1)

    def run(self, mfn):
        print(f"frame {number_of(mfn):#x}: {frame_entry(number_of(mfn)).format_string()}")


class Pte(Subcommand):
    """proxen pte VALUE

    Say what a page-table entry means: frame and flags."""

    nr_words = (1, 1)

    def run(self, value):
        print(describe_entry(number_of(value)))


class Walk(Subcommand):
    """proxen walk ADDRESS [DOMAIN.VCPU]

    Walk page tables from L4 to L1: of a vCPU, or of this CPU."""

    nr_words = (1, 2)

    def run(self, address, vcpu=None):
        address = number_of(address)
        if vcpu is None:
            table = number_of("$cr3") >> 12
        else:
            found = find_vcpu(vcpu)
            table = int(found["guest_table"])
        for level, mfn, index, entry in walk(table, address):
            print(f"L{level}[{index:>3}] of frame {mfn:#x}  {describe_entry(entry)}")
        frame = translate(table, address)
        if frame is not None:
            print(f"machine address {frame << 12 | address & 4095:#x}")


class Evtchn(Subcommand):
    """proxen evtchn DOMAIN

    List a domain's event channels: state, far end, pending, masked."""

    nr_words = (1, 1)

    def run(self, domain):
        domain = find_domain(number_of(domain))
        shared = pointer(domain["shared_info"])
        print(f"{'Port':>5} {'vCPU':>5} {'Pending':>8} {'Masked':>7}  State")
        for port in range(int(domain["evtchn"]["nr_ports"])):
            page = pointer(domain["evtchn"]["pages"][port // CHANNELS_PER_PAGE])
            if page is None:
                continue
            channel = page["channels"][port % CHANNELS_PER_PAGE]
            state = int(channel["state"])
            if state in (abi.EVTCHNSTAT_closed, 255):
                continue
            bits = [
                int(shared[name][port // 64]) >> port % 64 & 1
                for name in ("evtchn_pending", "evtchn_mask")
            ]
            text = describe_channel(channel, state)
            row = (port, int(channel["notify_vcpu"]), *("yes" if bit else "-" for bit in bits))
            print("{:>5} {:>5} {:>8} {:>7}  {}".format(*row, text))


def describe_channel(channel, state):
    """Say what a port is bound to."""
    number, name = int(channel["number"]), CHANNEL_STATES.get(state, str(state))
    if state == abi.EVTCHNSTAT_interdomain:
        far = pointer(channel["remote_domain"])
        return f"{name} with d{int(far['domain_id'])} port {number}"
    if state == abi.EVTCHNSTAT_unbound:
        return f"{name}, for d{number}"
    if state == abi.EVTCHNSTAT_virq:
        return VIRQS.get(number, f"VIRQ {number}")
    return f"{name} {number}" if state == abi.EVTCHNSTAT_pirq else name


class Runq(Subcommand):
    """proxen runq

    Show the scheduler: who runs on which CPU, and who waits in which order."""

    def run(self):
        scheds = gdb.parse_and_eval("cpu_scheds")
        for number, _ in pcpus():
            running = pointer(scheds[number]["running"])
            print(f"CPU {number}: {name_of(running) if running is not None else 'idle'}")
        queue = gdb.parse_and_eval("run_queue")
        print(f"{int(queue['nr_queued'])} waiting, virtual time {int(queue['virtual_time'])} ns")
        vcpu = pointer(queue["first"])
        while vcpu is not None:
            behind = int(vcpu["sched"]["virtual_runtime"]) - int(queue["virtual_time"])
            print(f"  {name_of(vcpu)}  {behind:+} ns, affinity {int(vcpu['sched']['affinity']):#x}")
            vcpu = pointer(vcpu["sched"]["next"])


class Guest(Subcommand):
    """proxen guest DOMAIN.VCPU

    Show a vCPU's saved registers and its guest's backtrace."""

    nr_words = (1, 1)

    def run(self, vcpu):
        vcpu = find_vcpu(vcpu)
        thread = guest_thread(vcpu)
        if thread is not None:
            print(f"{name_of(vcpu)} executes now: `thread {thread.num}`, then `backtrace`")
            return
        print(f"{name_of(vcpu)} {state_of(vcpu)}{vcpu['regs'].format_string()}")
        for number, address in enumerate(backtrace_of(vcpu)):
            # A call that never returns may be the last of its function, so look before its end.
            place = symbol_at(address - (number > 0))
            print(f"#{number:<3}{address:#018x} {place}")


class Break(Subcommand):
    """proxen break MODULE.FUNCTION

    Set a breakpoint by Python's name, inlined functions included; TAB completes it."""

    nr_words = (1, 1)

    def run(self, name):
        proxen_names.set_breakpoint(name)

    def complete(self, text, word):
        # gdb replaces the last word, which begins behind the last dot; first it asks with no word
        before = text[: len(text) - len(word or "")]
        return [name[len(before) :] for name in proxen_names.complete(text)]


class Symbols(Subcommand):
    """proxen symbols FILE

    Load a guest kernel's symbols, a stripped Linux's too, for breakpoints in guest and core."""

    nr_words = (1, 1)
    completion = gdb.COMPLETE_FILENAME

    def run(self, path):
        if not os.path.isfile(path):
            raise gdb.GdbError(f"there is no file '{path}'")
        folder = tempfile.mkdtemp(prefix="proxen-symbols-")
        gdb.execute(f"add-symbol-file {kallsyms.file_for_gdb(path, folder)}")
        atexit.register(shutil.rmtree, folder)  # gdb may look into the file again


COMMANDS = [Help, Domains, Vcpus, Cpus, Frame, Pte, Walk, Evtchn, Runq, Guest, Break, Symbols]


def register():
    """Make the commands known to gdb."""
    Proxen()
    for command in COMMANDS:
        command()
