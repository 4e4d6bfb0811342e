/*
 * __HYPERVISOR_xen_version: what runs underneath. Source: Xen public ABI, version.h.
 */
#ifndef PROXEN_ABI_VERSION_H
#define PROXEN_ABI_VERSION_H

#include "features.h"
#include "types.h"

#define XENVER_version              0 /* no argument; returns major << 16 | minor */
#define XENVER_extraversion         1 /* xen_extraversion_t */
#define XENVER_compile_info         2 /* xen_compile_info */
#define XENVER_capabilities         3 /* xen_capabilities_info_t */
#define XENVER_changeset            4 /* xen_changeset_info_t */
#define XENVER_platform_parameters  5 /* xen_platform_parameters */
#define XENVER_get_features         6 /* xen_feature_info */
#define XENVER_pagesize             7 /* no argument; returns 4096 */
#define XENVER_guest_handle         8 /* xen_domain_handle_t */
#define XENVER_commandline          9 /* xen_commandline_t */
#define XENVER_build_id            10 /* xen_build_id; a null argument asks for its length */

typedef char xen_extraversion_t[16];
typedef char xen_capabilities_info_t[1024];
typedef char xen_changeset_info_t[64];
typedef char xen_commandline_t[1024];
#define XEN_EXTRAVERSION_LEN 16
#define XEN_CAPABILITIES_INFO_LEN 1024
#define XEN_CHANGESET_INFO_LEN 64

struct xen_compile_info {
    char compiler[64];
    char compile_by[16];
    char compile_domain[32];
    char compile_date[32];
};
typedef struct xen_compile_info xen_compile_info_t;

struct xen_platform_parameters {
    xen_ulong_t virt_start; /* where the hypervisor's part of every address space begins */
};
typedef struct xen_platform_parameters xen_platform_parameters_t;

struct xen_feature_info {
    unsigned int submap_idx; /* in: which 32 of the XENFEAT_ bits */
    uint32_t submap;         /* out */
};
typedef struct xen_feature_info xen_feature_info_t;

struct xen_build_id {
    uint32_t len;
    unsigned char buf[XEN_FLEX_ARRAY_DIM];
};
typedef struct xen_build_id xen_build_id_t;

#endif
