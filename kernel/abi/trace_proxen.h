/*
 * Trace events that Xen does not have, in numbers that its trace.h leaves free. Readers of Xen's show
 * them as unknown events.
 */
#ifndef PROXEN_ABI_TRACE_PROXEN_H
#define PROXEN_ABI_TRACE_PROXEN_H

#include "trace.h"

#define TRC_PROXEN_RUNNING (TRC_GEN + 0x40) /* domain, vcpu: what a ring that starts finds running */

#define TRC_PROXEN_HYPERCALL_RETURN (TRC_PV_ENTRY + 0x40) /* number, result in 64 bits */
#define TRC_PROXEN_TRAP_RETURN      (TRC_PV_ENTRY + 0x41) /* vector */
#define TRC_PROXEN_SYSCALL          (TRC_PV_ENTRY + 0x42) /* rip, number; a guest's user mode calls */
#define TRC_PROXEN_SUBCALL_RETURN   (TRC_PV_SUBCALL + 0x43) /* number, result in 64 bits */

#define TRC_PROXEN_EVTCHN         0x00204000
#define TRC_PROXEN_EVTCHN_SEND    (TRC_PROXEN_EVTCHN + 1) /* domain, port: of the sender */
#define TRC_PROXEN_EVTCHN_PENDING (TRC_PROXEN_EVTCHN + 2) /* domain, vcpu, port: of the receiver */
#define TRC_PROXEN_EVTCHN_UPCALL  (TRC_PROXEN_EVTCHN + 3) /* domain, vcpu */

#define TRC_PROXEN_PAGE_TYPE (TRC_MEM + 0x40) /* frame in 64 bits, old type | new type << 8 */

#define TRC_PROXEN_INTERRUPT (TRC_HW_IRQ + 0x40) /* vector, low half of the TSC before, and after */

#define TRC_PROXEN_TLB           0x00804000
#define TRC_PROXEN_TLB_SHOOTDOWN (TRC_PROXEN_TLB + 1) /* other processors, a bit each, in 64 bits */

#endif
