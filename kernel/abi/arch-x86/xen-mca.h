/*
 * __HYPERVISOR_mca: dom0's log of machine checks. Source: Xen public ABI, arch-x86/xen-mca.h.
 */
#ifndef PROXEN_ABI_XEN_MCA_H
#define PROXEN_ABI_XEN_MCA_H

#include "../xen.h"

#define XEN_MCA_INTERFACE_VERSION 0x01ecc003

#define XEN_MC_fetch        1
#define XEN_MC_notifydomain 2
#define XEN_MC_physcpuinfo  3
#define XEN_MC_msrinject    4
#define XEN_MC_mceinject    5
#define XEN_MC_inject_v2    6

#define XEN_MC_NODATA 0x2

struct mcinfo_msr {
    uint64_t reg;
    uint64_t value;
};
typedef struct mcinfo_msr xen_mcinfo_msr_t;

#define MC_NCAPS 7
#define __MC_MSR_ARRAYSIZE 8
struct mcinfo_logical_cpu {
    uint32_t mc_cpunr;
    uint32_t mc_chipid;
    uint16_t mc_coreid;
    uint16_t mc_threadid;
    uint32_t mc_apicid;
    uint32_t mc_clusterid;
    uint32_t mc_ncores;
    uint32_t mc_ncores_active;
    uint32_t mc_nthreads;
    int32_t mc_cpuid_level;
    uint32_t mc_family;
    uint32_t mc_vendor;
    uint32_t mc_model;
    uint32_t mc_step;
    char mc_vendorid[16];
    char mc_brandid[64];
    uint32_t mc_cpu_caps[7];
    uint32_t mc_cache_size;
    uint32_t mc_cache_alignment;
    int32_t mc_nmsrvals;
    struct mcinfo_msr mc_msrvalues[8];
};
typedef struct mcinfo_logical_cpu xen_mc_logical_cpu_t;

struct xen_mc_fetch {
    uint32_t flags; /* in: which list; out: XEN_MC_NODATA ... */
    uint32_t _pad0;
    uint64_t fetch_id;
    XEN_GUEST_HANDLE(void) data;
};
typedef struct xen_mc_fetch xen_mc_fetch_t;

struct xen_mc_physcpuinfo {
    uint32_t ncpus; /* in: room in info; out: how many there are */
    uint32_t _pad0;
    XEN_GUEST_HANDLE(xen_mc_logical_cpu_t) info;
};

struct xen_mc_msrinject {
    uint32_t mcinj_cpunr;
    uint32_t mcinj_flags;
    uint32_t mcinj_count;
    domid_t mcinj_domid;
    uint16_t _pad0;
    struct mcinfo_msr mcinj_msr[8];
};

struct xen_mc {
    uint32_t cmd;
    uint32_t interface_version;
    union {
        struct xen_mc_fetch mc_fetch;
        struct xen_mc_physcpuinfo mc_physcpuinfo;
        struct xen_mc_msrinject mc_msrinject;
    } u;
};
typedef struct xen_mc xen_mc_t;

#endif
