/*
 * __HYPERVISOR_xenpmu_op: performance counters. Only what it takes to refuse them. Source: Xen
 * public ABI, pmu.h.
 */
#ifndef PROXEN_ABI_PMU_H
#define PROXEN_ABI_PMU_H

#include "xen.h"

#define XENPMU_VER_MAJ     0
#define XENPMU_VER_MIN     1
#define XENPMU_mode_get    0
#define XENPMU_mode_set    1
#define XENPMU_feature_get 2
#define XENPMU_feature_set 3
#define XENPMU_init        4
#define XENPMU_finish      5
#define XENPMU_lvtpc_set   6
#define XENPMU_flush       7

struct xen_pmu_params {
    struct {
        uint32_t maj;
        uint32_t min;
    } version;
    uint64_t val;
    uint32_t vcpu;
    uint32_t pad;
};
typedef struct xen_pmu_params xen_pmu_params_t;

#endif
