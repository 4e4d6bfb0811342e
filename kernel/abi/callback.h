/*
 * __HYPERVISOR_callback_op: where the guest kernel wants to be entered. Source: Xen public ABI,
 * callback.h.
 */
#ifndef PROXEN_ABI_CALLBACK_H
#define PROXEN_ABI_CALLBACK_H

#include "xen.h"

#define CALLBACKTYPE_event               0 /* events are pending */
#define CALLBACKTYPE_failsafe            1 /* an iret to the guest loaded a bad segment */
#define CALLBACKTYPE_syscall             2
#define CALLBACKTYPE_sysenter_deprecated 3
#define CALLBACKTYPE_nmi                 4
#define CALLBACKTYPE_sysenter            5
#define CALLBACKTYPE_syscall32           7

#define _CALLBACKF_mask_events 0
#define CALLBACKF_mask_events  (1U << _CALLBACKF_mask_events)

#define CALLBACKOP_register   0
#define CALLBACKOP_unregister 1

struct callback_register {
    uint16_t type;
    uint16_t flags;
    xen_callback_t address;
};
typedef struct callback_register callback_register_t;

struct callback_unregister {
    uint16_t type;
    uint16_t _unused;
};
typedef struct callback_unregister callback_unregister_t;

#endif
