/*
 * __HYPERVISOR_hvm_op: a PV guest meets it only to be refused; tools read a few parameters. Source:
 * Xen public ABI, hvm/.
 */
#ifndef PROXEN_ABI_HVM_PARAMS_H
#define PROXEN_ABI_HVM_PARAMS_H

#include "../types.h"

#define HVMOP_set_param 0
#define HVMOP_get_param 1
struct xen_hvm_param {
    domid_t domid;
    uint16_t pad;
    uint32_t index;
    uint64_t value;
};
typedef struct xen_hvm_param xen_hvm_param_t;

#define HVM_PARAM_CALLBACK_IRQ   0
#define HVM_PARAM_STORE_PFN      1
#define HVM_PARAM_STORE_EVTCHN   2
#define HVM_PARAM_CONSOLE_PFN    17
#define HVM_PARAM_CONSOLE_EVTCHN 18
#define HVM_NR_PARAMS            39

#endif
