"""Every module that registers hypercall handlers: so the tables are whole when they are built."""

import kernel.console.console_io  # noqa: F401
import kernel.control.domctl  # noqa: F401
import kernel.control.mca  # noqa: F401
import kernel.control.platform  # noqa: F401
import kernel.control.sysctl  # noqa: F401
import kernel.control.topology  # noqa: F401
import kernel.control.tracing  # noqa: F401
import kernel.control.version  # noqa: F401
import kernel.domain.vcpu_op  # noqa: F401
import kernel.domain.vm_assist  # noqa: F401
import kernel.entry.callback  # noqa: F401
import kernel.entry.debugreg  # noqa: F401
import kernel.entry.iret  # noqa: F401
import kernel.entry.multicall  # noqa: F401
import kernel.entry.nmi  # noqa: F401
import kernel.evtchn.event_channel_op  # noqa: F401
import kernel.grant.grant_table_op  # noqa: F401
import kernel.irq.physdev  # noqa: F401
import kernel.memory.memory_op  # noqa: F401
import kernel.paging.descriptor  # noqa: F401
import kernel.paging.mmu_update  # noqa: F401
import kernel.paging.mmuext  # noqa: F401
import kernel.paging.update_va  # noqa: F401
import kernel.sched.sched_op  # noqa: F401
import kernel.sched.time  # noqa: F401
