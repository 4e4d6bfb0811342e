/*
 * Page tables: mmu_update, mmuext_op, update_va_mapping. Source: Xen public ABI, xen.h.
 *
 * A PV guest sees its real page tables but may not write them: these calls ask, the hypervisor
 * checks.
 */
#ifndef PROXEN_ABI_MMU_H
#define PROXEN_ABI_MMU_H

#include "types.h"

/* mmu_update(mmu_update[], count, &done, domid): the two low bits of ptr say what to do. */
#define MMU_NORMAL_PT_UPDATE       0 /* ptr: machine address of an entry, val: its value */
#define MMU_MACHPHYS_UPDATE        1 /* ptr: a frame's machine address, val: its pfn */
#define MMU_PT_UPDATE_PRESERVE_AD  2 /* as 0, keeping the accessed and dirty bits */
#define MMU_PT_UPDATE_NO_TRANSLATE 3

struct mmu_update {
    uint64_t ptr;
    uint64_t val;
};
typedef struct mmu_update mmu_update_t;

/* mmuext_op(mmuext_op[], count, &done, domid) */
#define MMUEXT_PIN_L1_TABLE        0 /* mfn: validate as a page table and keep it one */
#define MMUEXT_PIN_L2_TABLE        1
#define MMUEXT_PIN_L3_TABLE        2
#define MMUEXT_PIN_L4_TABLE        3
#define MMUEXT_UNPIN_TABLE         4 /* mfn */
#define MMUEXT_NEW_BASEPTR         5 /* mfn: the kernel's L4 */
#define MMUEXT_TLB_FLUSH_LOCAL     6
#define MMUEXT_INVLPG_LOCAL        7 /* linear_addr */
#define MMUEXT_TLB_FLUSH_MULTI     8 /* vcpumask */
#define MMUEXT_INVLPG_MULTI        9 /* linear_addr, vcpumask */
#define MMUEXT_TLB_FLUSH_ALL      10
#define MMUEXT_INVLPG_ALL         11 /* linear_addr */
#define MMUEXT_FLUSH_CACHE        12
#define MMUEXT_SET_LDT            13 /* linear_addr, nr_ents */
#define MMUEXT_NEW_USER_BASEPTR   15 /* mfn: the L4 in force in user mode; 0: none */
#define MMUEXT_CLEAR_PAGE         16 /* mfn */
#define MMUEXT_COPY_PAGE          17 /* mfn, src_mfn */
#define MMUEXT_FLUSH_CACHE_GLOBAL 18
#define MMUEXT_MARK_SUPER         19
#define MMUEXT_UNMARK_SUPER       20

struct mmuext_op {
    unsigned int cmd;
    union {
        xen_pfn_t mfn;
        unsigned long linear_addr;
    } arg1;
    union {
        unsigned int nr_ents;
        XEN_GUEST_HANDLE(const void) vcpumask;
        xen_pfn_t src_mfn;
    } arg2;
};
typedef struct mmuext_op mmuext_op_t;

/* update_va_mapping(va, l1e, flags): UVMF_MULTI takes the address of a vCPU bitmap in the bits
 * above. */
#define UVMF_NONE           (0UL << 0)
#define UVMF_TLB_FLUSH      (1UL << 0)
#define UVMF_INVLPG         (2UL << 0)
#define UVMF_FLUSHTYPE_MASK (3UL << 0)
#define UVMF_MULTI          (0UL << 2)
#define UVMF_LOCAL          (0UL << 2)
#define UVMF_ALL            (1UL << 2)

#endif
