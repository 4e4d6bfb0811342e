"""Every module that registers hypercall handlers: so the tables are whole when they are built."""

import kernel.callback  # noqa: F401
import kernel.console_io  # noqa: F401
import kernel.debugreg  # noqa: F401
import kernel.descriptor  # noqa: F401
import kernel.domctl  # noqa: F401
import kernel.evtchn_op  # noqa: F401
import kernel.grant_op  # noqa: F401
import kernel.iret  # noqa: F401
import kernel.memory  # noqa: F401
import kernel.mmu_update  # noqa: F401
import kernel.mmuext  # noqa: F401
import kernel.multicall  # noqa: F401
import kernel.nmi  # noqa: F401
import kernel.physdev  # noqa: F401
import kernel.platform  # noqa: F401
import kernel.sched_op  # noqa: F401
import kernel.sysctl  # noqa: F401
import kernel.time  # noqa: F401
import kernel.trace_control  # noqa: F401
import kernel.update_va  # noqa: F401
import kernel.vcpu_op  # noqa: F401
import kernel.version  # noqa: F401
import kernel.vm_assist  # noqa: F401
