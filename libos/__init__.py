"""The guest library: what a kernel on Xen's PV ABI needs, one concept a file, small enough to read
in an evening.

Reading order: layout, start.asm, start, hypercall, console, memory, event, thread, time, grant,
xenbus.
"""
