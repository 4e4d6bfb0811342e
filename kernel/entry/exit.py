"""The only way back to a guest: what has to happen before, and which vCPU it is.

Everything that enters the core ends here. The common case, nothing pending, is a few instructions.
"""

from kpy import Ptr, inline, noinline

from kernel.entry.bounce import deliver_event_upcall, deliver_nmi
from kernel.evtchn.trace_virq import tell_reader
from kernel.sched.schedule import schedule
from kernel.state.vcpu import Vcpu
from kernel.x86.percpu import Pcpu, this_cpu


@inline
def exit_to_guest(vcpu: Ptr[Vcpu]) -> Ptr[Vcpu]:
    """Return the vCPU to run next: `vcpu`, unless the scheduler is asked and chooses another.

    Context: at the end of every entry; the assembly then loads the registers of the vCPU returned.
    """
    cpu = this_cpu()
    if cpu.reschedule or upcall_due(vcpu) or vcpu.nmi_pending:
        return exit_with_work(cpu, vcpu)
    return vcpu


@inline
def upcall_due(vcpu: Ptr[Vcpu]) -> bool:
    """Tell whether the guest has an event pending that it does not mask."""
    info = vcpu.vcpu_info
    return info.evtchn_upcall_pending != 0 and info.evtchn_upcall_mask == 0


@noinline
def exit_with_work(cpu: Ptr[Pcpu], vcpu: Ptr[Vcpu]) -> Ptr[Vcpu]:
    """Schedule and deliver until a vCPU can run.

    Delivery to a broken kernel crashes it, and the scheduler is asked again.
    """
    chosen = vcpu
    while True:
        if cpu.reschedule:
            tell_reader()
            chosen = schedule(chosen)
        if chosen.nmi_pending and not chosen.nmi_masked:
            deliver_nmi(chosen)
        elif upcall_due(chosen):
            deliver_event_upcall(chosen)
        if not cpu.reschedule:
            return chosen
