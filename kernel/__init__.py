"""The hypervisor core, in rooms. A room imports from those above it in this list, not from below.

base      what everything is made of: identifiers, locks, access to guest memory, registries
state     the structs: Domain, Vcpu, Frame and their kin, and the tables in which they are found
x86       all that touches the processor and its chips; another machine would be another such room
console   what the core prints, on serial line and screen and in its ring; the console's hypercall
trace     what each processor records of itself
frames    who owns each machine frame, as what it may be used, and where free ones come from
evtchn    event channels
sched     which vCPU runs where, and for how long; time and timers
panic     the core's end, a guest's end, and what is asked of both with debug keys and debuggers
paging    guests' page tables and descriptor tables: validating, changing, releasing them
grant     grant tables: mapping, copying, giving back
memory    memory_op: who has how much memory, and at which of its addresses
entry     the ways into the core and back: hypercalls, traps, callbacks
emulate   what a guest kernel may not do itself: privileged instructions, writes to page tables
irq       physical interrupts, and the devices' hypercall
domain    how domains and their vCPUs come, are told what to do, and go
control   what the toolstack asks: domctl, sysctl, platform_op, versions
dom0      domain 0 made of the boot modules

A module that nobody imports but main.py and handlers.py, such as a hypercall's handler or the trap
dispatcher, can be part of no circle and may use every room. What else goes the other way, and why,
stands in tests/unit/test_rooms.py. `abi/` holds the public ABI as C headers; from it comes the
module `abi`, which everybody imports.
"""
