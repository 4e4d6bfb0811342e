/*
 * The arguments of domctl operations about what a domain may touch, what processor it sees, and how
 * a debugger looks at it. Source: Xen public ABI, domctl.h.
 */
#ifndef PROXEN_ABI_DOMCTL_MACHINE_H
#define PROXEN_ABI_DOMCTL_MACHINE_H

#include "xen.h"

struct xen_domctl_irq_permission {
    uint32_t pirq;
    uint8_t allow_access;
    uint8_t pad[3];
};

struct xen_domctl_iomem_permission {
    uint64_aligned_t first_mfn;
    uint64_aligned_t nr_mfns;
    uint8_t allow_access;
};

struct xen_domctl_ioport_permission {
    uint32_t first_port;
    uint32_t nr_ports;
    uint8_t allow_access;
};

/* Fill a page of the domain with hypercall stubs. */
struct xen_domctl_hypercall_init {
    uint64_aligned_t gmfn;
};

struct xen_domctl_settimeoffset {
    int64_aligned_t time_offset_seconds;
};

struct xen_domctl_address_size {
    uint32_t size; /* bits: 32 or 64 */
};

#define XEN_DOMCTL_SENDTRIGGER_NMI   0
#define XEN_DOMCTL_SENDTRIGGER_RESET 1
#define XEN_DOMCTL_SENDTRIGGER_INIT  2
#define XEN_DOMCTL_SENDTRIGGER_POWER 3
#define XEN_DOMCTL_SENDTRIGGER_SLEEP 4
struct xen_domctl_sendtrigger {
    uint32_t trigger;
    uint32_t vcpu;
};

#define DPCI_ADD_MAPPING    1
#define DPCI_REMOVE_MAPPING 0
struct xen_domctl_memory_mapping {
    uint64_aligned_t first_gfn;
    uint64_aligned_t first_mfn;
    uint64_aligned_t nr_mfns;
    uint32_t add_mapping; /* DPCI_ */
    uint32_t padding;
};

struct xen_domctl_ioport_mapping {
    uint32_t first_gport;
    uint32_t first_mport;
    uint32_t nr_ports;
    uint32_t add_mapping;
};

struct hvm_vmce_vcpu {
    uint64_t caps;
    uint64_t mci_ctl2_bank0;
    uint64_t mci_ctl2_bank1;
    uint64_t mcg_ext_ctl;
};
struct xen_domctl_ext_vcpucontext {
    uint32_t vcpu;
    uint32_t size; /* bytes of this structure that are valid */
    uint64_aligned_t syscall32_callback_eip;
    uint64_aligned_t sysenter_callback_eip;
    uint16_t syscall32_callback_cs;
    uint16_t sysenter_callback_cs;
    uint8_t syscall32_disables_events;
    uint8_t sysenter_disables_events;
    struct hvm_vmce_vcpu vmce;
};

struct xen_domctl_set_target {
    domid_t target;
};

#define XEN_CPUID_INPUT_UNUSED 0xFFFFFFFF
struct xen_domctl_cpu_policy {
    uint32_t nr_leaves; /* in: room; out: count */
    uint32_t nr_msrs;
    XEN_GUEST_HANDLE_64(xen_cpuid_leaf_t) leaves;
    XEN_GUEST_HANDLE_64(xen_msr_entry_t) msrs;
    uint32_t err_leaf, err_subleaf, err_msr; /* out: what was refused */
};

struct xen_domctl_subscribe {
    uint32_t port;
};

#define XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_OFF 0
#define XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_ON  1
struct xen_domctl_debug_op {
    uint32_t op;
    uint32_t vcpu;
};

struct xen_domctl_tsc_info {
    uint32_t tsc_mode;
    uint32_t gtsc_khz;
    uint32_t incarnation;
    uint32_t pad;
    uint64_aligned_t elapsed_nsec;
};

struct xen_domctl_gdbsx_memio {
    uint64_aligned_t pgd3val;
    uint64_aligned_t gva;
    uint64_aligned_t uva;
    uint32_t len;
    uint8_t gwr; /* 1: write to the guest */
    uint32_t remain; /* out: bytes not done */
};
struct xen_domctl_gdbsx_pauseunp_vcpu {
    uint32_t vcpu;
};
struct xen_domctl_gdbsx_domstatus {
    uint8_t paused;
    uint32_t vcpu_id;
    uint32_t vcpu_ev;
};

struct xen_domctl_set_virq_handler {
    uint32_t virq;
};

struct xen_domctl_vcpuextstate {
    uint32_t vcpu;
    uint64_aligned_t xfeature_mask;
    uint64_aligned_t size;
    XEN_GUEST_HANDLE_64(uint64_t) buffer;
};

struct xen_domctl_vcpu_msr {
    uint32_t index;
    uint32_t reserved;
    uint64_aligned_t value;
};
typedef struct xen_domctl_vcpu_msr xen_domctl_vcpu_msr_t;

struct xen_domctl_vcpu_msrs {
    uint32_t vcpu;
    uint32_t msr_count;
    XEN_GUEST_HANDLE_64(xen_domctl_vcpu_msr_t) msrs;
};

struct xen_domctl_paging_mempool {
    uint64_aligned_t size; /* bytes */
};

#endif
