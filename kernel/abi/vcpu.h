/*
 * __HYPERVISOR_vcpu_op(command, vcpu, argument). Source: Xen public ABI, vcpu.h.
 */
#ifndef PROXEN_ABI_VCPU_H
#define PROXEN_ABI_VCPU_H

#include "xen.h"

#define VCPUOP_initialise                     0 /* vcpu_guest_context */
#define VCPUOP_up                             1
#define VCPUOP_down                           2
#define VCPUOP_is_up                          3 /* returns 1 or 0; -ENOENT without such a vCPU */
#define VCPUOP_get_runstate_info              4 /* vcpu_runstate_info */
#define VCPUOP_register_runstate_memory_area  5
#define VCPUOP_set_periodic_timer             6
#define VCPUOP_stop_periodic_timer            7
#define VCPUOP_set_singleshot_timer           8
#define VCPUOP_stop_singleshot_timer          9
#define VCPUOP_register_vcpu_info            10
#define VCPUOP_send_nmi                      11
#define VCPUOP_get_physid                    12
#define VCPUOP_register_vcpu_time_memory_area 13

#define RUNSTATE_running  0
#define RUNSTATE_runnable 1 /* wants a CPU, has none */
#define RUNSTATE_blocked  2 /* waits for an event */
#define RUNSTATE_offline  3
#define XEN_RUNSTATE_UPDATE (1ULL << 63) /* in state_entry_time: being written */

struct vcpu_runstate_info {
    int state;
    uint64_t state_entry_time; /* ns since boot */
    uint64_t time[4];          /* ns spent in each state */
};
typedef struct vcpu_runstate_info vcpu_runstate_info_t;

/* The hypervisor keeps a vcpu_runstate_info up to date at this virtual address. */
struct vcpu_register_runstate_memory_area {
    union {
        XEN_GUEST_HANDLE(vcpu_runstate_info_t) h;
        struct vcpu_runstate_info *v;
        uint64_t p;
    } addr;
};
typedef struct vcpu_register_runstate_memory_area vcpu_register_runstate_memory_area_t;

struct vcpu_register_time_memory_area {
    union {
        XEN_GUEST_HANDLE(vcpu_time_info_t) h;
        struct vcpu_time_info *v;
        uint64_t p;
    } addr;
};
typedef struct vcpu_register_time_memory_area vcpu_register_time_memory_area_t;

struct vcpu_set_periodic_timer {
    uint64_t period_ns;
};
typedef struct vcpu_set_periodic_timer vcpu_set_periodic_timer_t;

#define _VCPU_SSHOTTMR_future 0
#define VCPU_SSHOTTMR_future  (1U << _VCPU_SSHOTTMR_future) /* -ETIME when the time has passed */
struct vcpu_set_singleshot_timer {
    uint64_t timeout_abs_ns; /* ns since boot */
    uint32_t flags;
};
typedef struct vcpu_set_singleshot_timer vcpu_set_singleshot_timer_t;

/* Move a vCPU's vcpu_info out of shared_info, for good. */
struct vcpu_register_vcpu_info {
    uint64_t mfn;
    uint32_t offset;
    uint32_t rsvd;
};
typedef struct vcpu_register_vcpu_info vcpu_register_vcpu_info_t;

struct vcpu_get_physid {
    uint64_t phys_id; /* APIC id low, ACPI id high */
};
typedef struct vcpu_get_physid vcpu_get_physid_t;
#define xen_vcpu_physid_to_x86_apicid(physid) ((uint32_t)(physid))
#define xen_vcpu_physid_to_x86_acpiid(physid) ((uint32_t)((physid) >> 32))

#endif
