"""Bindings for a Xen-ABI hypervisor, as dom0's user space sees it.

One module per device or call: `privcmd` (hypercalls and foreign memory), `evtchn` (event channels),
`domctl`, `sysctl`, `memory` (the calls a toolstack makes), `tbuf` (trace rings), `xs_wire` and
`xenstore` (the store's protocol and a client of it).

Structures and constants come from `xen_codecs`, which tools/abi generates from kernel/abi.
Everything that the hypervisor refuses is a `HypercallError`, an OSError whose errno has Xen's
meaning.
"""
