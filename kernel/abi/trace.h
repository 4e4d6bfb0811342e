/*
 * Trace buffers: what the hypervisor does, event by event, in a ring for each processor. Source: Xen
 * public ABI, trace.h.
 *
 * A record is 4 + 8 + 4 * n bytes, all little-endian and 4-byte aligned: a header word, the time-stamp
 * counter (unless the header lacks TRC_HD_CYCLE_FLAG), and n words of the event's own:
 *
 *   header   bit 31: has a time stamp   30-28: n   27-0: the event
 *   event    27-16: class, a bit each   15-12: subclass, a bit each   11-0: number; 8: TRC_64_FLAG
 *
 * An event is recorded when both its class and its subclass are in the event mask, which has the form
 * of an event without a number. No record crosses the end of the ring: TRC_TRACE_WRAP_BUFFER fills it.
 */
#ifndef PROXEN_ABI_TRACE_H
#define PROXEN_ABI_TRACE_H

#include "types.h"

#define TRACE_EXTRA_MAX   7
#define TRACE_EXTRA_SHIFT 28
#define TRC_HD_CYCLE_FLAG (1UL << 31)
#define TRC_64_FLAG       0x100 /* addresses in the record are 64 bits wide */

#define TRC_CLS_SHIFT    16
#define TRC_SUBCLS_SHIFT 12

#define TRC_GEN    0x0001f000
#define TRC_SCHED  0x0002f000
#define TRC_DOM0OP 0x0004f000
#define TRC_HVM    0x0008f000
#define TRC_MEM    0x0010f000
#define TRC_PV     0x0020f000
#define TRC_SHADOW 0x0040f000
#define TRC_HW     0x0080f000
#define TRC_GUEST  0x0800f000
#define TRC_ALL    0x0ffff000

#define TRC_LOST_RECORDS       (TRC_GEN + 1) /* count, domain | vcpu << 16, TSC of the first */
#define TRC_TRACE_WRAP_BUFFER  (TRC_GEN + 2)
#define TRC_TRACE_CPU_CHANGE   (TRC_GEN + 3) /* in files: cpu, bytes of its records that follow */

/* What runs: (vcpu | domain << 16), with the states before << 8 and after << 4 in the event. */
#define TRC_SCHED_MIN             0x00021000
#define TRC_SCHED_RUNSTATE_CHANGE (TRC_SCHED_MIN + 1)

#define TRC_SCHED_VERBOSE        0x00028000
#define TRC_SCHED_DOM_ADD        (TRC_SCHED_VERBOSE + 1)  /* domain, vcpu */
#define TRC_SCHED_DOM_REM        (TRC_SCHED_VERBOSE + 2)  /* domain, vcpu */
#define TRC_SCHED_SLEEP          (TRC_SCHED_VERBOSE + 3)  /* domain, vcpu */
#define TRC_SCHED_WAKE           (TRC_SCHED_VERBOSE + 4)  /* domain, vcpu */
#define TRC_SCHED_YIELD          (TRC_SCHED_VERBOSE + 5)  /* domain, vcpu */
#define TRC_SCHED_BLOCK          (TRC_SCHED_VERBOSE + 6)  /* domain, vcpu */
#define TRC_SCHED_SWITCH         (TRC_SCHED_VERBOSE + 10) /* domain, vcpu before; domain, vcpu after */
#define TRC_SCHED_SHUTDOWN_CODE  (TRC_SCHED_VERBOSE + 16) /* domain, reason */

#define TRC_DOM0_DOMOPS  0x00041000
#define TRC_DOM0_DOM_ADD (TRC_DOM0_DOMOPS + 1) /* domain */
#define TRC_DOM0_DOM_REM (TRC_DOM0_DOMOPS + 2) /* domain */

#define TRC_MEM_PAGE_GRANT_MAP      (TRC_MEM + 1) /* granting domain */
#define TRC_MEM_PAGE_GRANT_UNMAP    (TRC_MEM + 2) /* granting domain */

/* How paravirtual guests enter the hypervisor. */
#define TRC_PV_ENTRY                 0x00201000
#define TRC_PV_SUBCALL               0x00202000
#define TRC_PV_TRAP                  (TRC_PV_ENTRY + 3) /* rip, vector | error code << 16 */
#define TRC_PV_PAGE_FAULT            (TRC_PV_ENTRY + 4) /* rip, address, error code */
#define TRC_PV_FORCED_INVALID_OP     (TRC_PV_ENTRY + 5) /* rip */
#define TRC_PV_EMULATE_PRIVOP        (TRC_PV_ENTRY + 6) /* rip */
#define TRC_PV_GDT_LDT_MAPPING_FAULT (TRC_PV_ENTRY + 10) /* rip, offset in the LDT */
#define TRC_PV_PTWR_EMULATION        (TRC_PV_ENTRY + 11) /* new entry, address, rip */
#define TRC_PV_HYPERCALL_V2          (TRC_PV_ENTRY + 13)
#define TRC_PV_HYPERCALL_SUBCALL     (TRC_PV_SUBCALL + 14) /* an entry of a multicall */

/*
 * The first word of a hypercall's record: the hypercall's number in bits 19-0, and from bit 20 two bits
 * for each of six arguments: not recorded, 1: as 32 bits, 2: as 64 bits.
 */
#define TRC_PV_HYPERCALL_V2_ARG_MASK (0xfff00000)

#define TRC_HW_PM          0x00801000
#define TRC_HW_IRQ         0x00802000
#define TRC_HW_IRQ_HANDLED (TRC_HW_IRQ + 8) /* irq, low half of the TSC before, and after */

/* At the start of a ring. Both count modulo twice the size of the data that follows. */
struct t_buf {
    uint32_t cons; /* where the reader is */
    uint32_t prod; /* where the hypervisor is */
};

/* The first page that a reader maps. Frame numbers are 32 bits each. */
struct t_info {
    uint16_t tbuf_size;    /* pages in each ring */
    uint16_t mfn_offset[]; /* by processor: its frame numbers begin at this 32-bit word; 0: none */
};

#endif
