/*
 * The integer and handle types that every other header here builds on.
 *
 * Source: Xen public ABI, xen.h, arch-x86/xen.h. Only the x86-64 form exists: long and pointers are
 * 8 bytes. A guest handle is an address in the caller's own virtual memory that the hypervisor must
 * not trust. For a C guest it is a plain pointer; tools/abi turns it into Guest[T] for the core.
 * Both kinds of handle look alike on x86-64.
 */
#ifndef PROXEN_ABI_TYPES_H
#define PROXEN_ABI_TYPES_H

#include <stdint.h>

#define XEN_GUEST_HANDLE(type) type *
#define XEN_GUEST_HANDLE_64(type) type *
#define XEN_FLEX_ARRAY_DIM

typedef uint64_t uint64_aligned_t;
typedef int64_t int64_aligned_t;

typedef unsigned long xen_ulong_t;
typedef unsigned long xen_pfn_t;
typedef unsigned long xen_callback_t;
typedef uint16_t domid_t;
typedef uint32_t evtchn_port_t;
typedef uint32_t grant_ref_t;
typedef uint32_t grant_handle_t;
typedef uint8_t xen_domain_handle_t[16];

#endif
