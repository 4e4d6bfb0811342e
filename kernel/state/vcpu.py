"""The virtual CPU: what the core keeps for each, and the layout that the entry assembly relies on.

`regs` comes first: the task-state segment's rsp0 points just past `regs.ss`, so the processor and
the entry stubs push a guest's registers straight into it.
"""

import abi
from kpy import Array, Ptr, Tainted, sizeof, struct, u32, u64

from kernel.base.ids import Mfn
from kernel.state.domain import Domain
from kernel.state.sched_unit import SchedUnit
from kernel.state.timer import Timer

MAX_VCPUS = 32

# Reasons for which a vCPU cannot run, bits of `pause_flags`.
VPF_blocked = 1 << 0  # SCHEDOP_block or SCHEDOP_poll: an event wakes it
VPF_down = 1 << 1  # never brought up, or VCPUOP_down

EVENT_shutdown = 256  # in `debugger_event`: no vector, on this vCPU the domain shut down or crashed


@struct(align=64)
class Vcpu:
    pad: u64
    regs: Tainted[abi.cpu_user_regs]  # offset 8: makes rsp0, the end of `ss`, a multiple of 16
    stack_top: u64  # of the physical CPU it runs on; set by switch_to

    vcpu_id: u32
    processor: u32  # physical CPU that runs it, or ran it last
    domain: Ptr[Domain]
    vcpu_info: Ptr[
        Tainted[abi.vcpu_info]
    ]  # in the shared page, or where VCPUOP_register_vcpu_info put it
    vcpu_info_mfn: Mfn | None  # None: still in the shared page
    initialised: bool
    is_running: bool  # executes on `processor`
    is_paused_for_shutdown: bool
    context_loaded: u32  # its state is still in the registers of `processor`; changed atomically
    pause_flags: u32  # VPF_*, changed atomically
    pause_count: u32  # changed atomically
    poll_port: u32  # the only port that ends its SCHEDOP_poll, 0: any
    virq_ports: Array[u32, abi.NR_VIRQS]  # bound ports, global VIRQs only in vCPU 0's; 0: unbound

    # Scheduling, time (kernel/sched/schedule.py, kernel/sched/time.py)
    sched: SchedUnit
    singleshot_timer: Timer
    periodic_timer: Timer
    periodic_period_ns: u64  # 0: stopped
    poll_timer: Timer

    # Address space (kernel/paging/base_pointer.py)
    guest_table: Mfn | None  # L4 of the guest kernel, referenced
    guest_table_user: Mfn | None  # L4 of guest user mode
    old_guest_table: Mfn | None  # a table whose release goes on in the next hypercall
    cr3: u64  # what the processor loads in the current mode
    kernel_mode: bool

    # Processor state (kernel/x86/context.py, kernel/x86/fpu.py)
    loaded_cpu: u32  # number + 1 of the processor that loaded its state last, 0: reload it anyway
    xsave_area: u64
    xcr0: u64
    fpu_cpu: u32  # number + 1 of the processor that loaded its FPU state last, 0: none holds it
    fpu_ts: bool
    debugreg: Array[u64, 8]
    gdt_ents: u32
    ldt_ents: u32
    ldt_base: Tainted[u64]
    gdt_frames: Array[Mfn | None, 14]
    ldt_frames: Array[Mfn | None, 16]  # those pages of the LDT that were used so far

    # Traps and segments (kernel/entry/trap.py, kernel/entry/bounce.py, kernel/entry/callback.py,
    # kernel/entry/iret.py)
    trap_table: Ptr[
        Array[Tainted[abi.trap_info], 256]
    ]  # one core page, by vector; address 0: no handler
    kernel_ss: Tainted[u64]
    kernel_sp: Tainted[u64]
    event_callback_eip: Tainted[u64]
    failsafe_callback_eip: Tainted[u64]
    syscall_callback_eip: Tainted[u64]
    syscall32_callback_eip: Tainted[u64]
    sysenter_callback_eip: Tainted[u64]
    callback_flags: u64  # VGCF_*_disables_events
    nmi_pending: bool
    nmi_masked: bool  # from the delivery of an NMI to the next iret
    fs_base: Tainted[u64]
    gs_base_kernel: Tainted[u64]
    gs_base_user: Tainted[u64]

    # Privileged instructions (kernel/emulate/)
    iopl: u32  # the I/O privilege level that PHYSDEVOP_set_iopl gave it
    io_bitmap: Tainted[u64]  # guest address of its user mode's port bitmap
    io_bitmap_ports: u32
    tsc_aux: Tainted[u32]
    spec_ctrl: u64  # the bits that the guest chose
    cr4: Tainted[u64]  # the bits that the guest chose

    # Debugger of the toolstack (kernel/panic/debugger.py, kernel/control/debug.py)
    debugger_event: u32  # vector of the trap that stopped it, or EVENT_shutdown; 0: none to tell
    controller_pause_count: u32  # the part of pause_count that domctls made; under domctl_lock
    is_single_stepped: bool  # the debugger set its trap flag

    # Hypercalls (kernel/state/continuation.py)
    continuation: Array[Tainted[u64], 4]  # arguments with which the present one runs again …
    is_continued: bool  # … if it does


assert sizeof(Vcpu) <= 4096
