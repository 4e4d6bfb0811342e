/*
 * The value of a device's xenstore node "protocol". Source: Xen public ABI, io/protocols.h.
 */
#ifndef PROXEN_ABI_IO_PROTOCOLS_H
#define PROXEN_ABI_IO_PROTOCOLS_H

#define XEN_IO_PROTO_ABI_X86_32 "x86_32-abi"
#define XEN_IO_PROTO_ABI_X86_64 "x86_64-abi"
#define XEN_IO_PROTO_ABI_NATIVE XEN_IO_PROTO_ABI_X86_64

#endif
