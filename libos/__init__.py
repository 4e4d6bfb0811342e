"""The guest library: what a kernel on Xen's PV ABI needs, one concept a file.

Reading order: layout, start.asm, start, hypercall, start_info, console (and drivers/consfront),
memory, pages, event, thread, time, trap, grant, xenbus, drivers/ring, drivers/blkfront,
drivers/netfront, shutdown.
"""
