/*
 * __HYPERVISOR_platform_op: dom0 as the keeper of the machine. Source: Xen public ABI, platform.h.
 */
#ifndef PROXEN_ABI_PLATFORM_H
#define PROXEN_ABI_PLATFORM_H

#include "xen.h"

#define XENPF_INTERFACE_VERSION 0x03000001

#define XENPF_settime32          17
#define XENPF_add_memtype        31
#define XENPF_del_memtype        32
#define XENPF_read_memtype       33
#define XENPF_microcode_update   35
#define XENPF_platform_quirk     39
#define XENPF_get_cpu_version    48
#define XENPF_efi_runtime_call   49
#define XENPF_firmware_info      50
#define XENPF_enter_acpi_sleep   51
#define XENPF_change_freq        52
#define XENPF_getidletime        53
#define XENPF_set_processor_pminfo 54
#define XENPF_get_cpuinfo        55
#define XENPF_cpu_online         56
#define XENPF_cpu_offline        57
#define XENPF_cpu_hotadd         58
#define XENPF_mem_hotadd         59
#define XENPF_core_parking       60
#define XENPF_resource_op        61
#define XENPF_settime64          62
#define XENPF_get_symbol         63

/* The wall clock was secs.nsecs when the system time was system_time. */
struct xenpf_settime32 {
    uint32_t secs;
    uint32_t nsecs;
    uint64_t system_time;
};
typedef struct xenpf_settime32 xenpf_settime32_t;

struct xenpf_settime64 {
    uint64_t secs;
    uint32_t nsecs;
    uint32_t mbz;
    uint64_t system_time;
};
typedef struct xenpf_settime64 xenpf_settime64_t;

struct xenpf_read_memtype {
    uint32_t reg;
    xen_pfn_t mfn;
    uint64_t nr_mfns;
    uint32_t type;
};
typedef struct xenpf_read_memtype xenpf_read_memtype_t;

#define XEN_FW_DISK_INFO          1
#define XEN_FW_DISK_MBR_SIGNATURE 2
#define XEN_FW_VBEDDC_INFO        3
#define XEN_FW_EFI_INFO           4
#define XEN_FW_EFI_VERSION        0
#define XEN_FW_EFI_CONFIG_TABLE   1
#define XEN_FW_EFI_VENDOR         2
#define XEN_FW_EFI_MEM_INFO       3
#define XEN_FW_EFI_RT_VERSION     4
#define XEN_FW_EFI_PCI_ROM        5
#define XEN_FW_EFI_APPLE_PROPERTIES 6
#define XEN_FW_KBD_SHIFT_FLAGS    5

union xenpf_efi_info {
    uint32_t version;
    struct {
        uint64_t addr;
        uint32_t nent;
    } cfg;
    struct {
        uint32_t revision;
        uint32_t bufsz;
        XEN_GUEST_HANDLE(void) name;
    } vendor;
    struct {
        uint64_t addr;
        uint64_t size;
        uint64_t attr;
        uint32_t type;
    } mem;
};

struct xenpf_firmware_info {
    uint32_t type; /* XEN_FW_ */
    uint32_t index;
    union {
        struct {
            uint8_t device;
            uint8_t version;
            uint16_t interface_support;
            uint16_t legacy_max_cylinder;
            uint8_t legacy_max_head;
            uint8_t legacy_sectors_per_track;
            XEN_GUEST_HANDLE(void) edd_params;
        } disk_info;
        struct {
            uint8_t device;
            uint32_t mbr_signature;
        } disk_mbr_signature;
        struct {
            uint8_t capabilities;
            uint8_t edid_transfer_time;
            XEN_GUEST_HANDLE(uint8_t) edid;
        } vbeddc_info;
        union xenpf_efi_info efi_info;
        uint8_t kbd_shift_flags;
    } u;
};
typedef struct xenpf_firmware_info xenpf_firmware_info_t;

#define XENPF_ACPI_SLEEP_EXTENDED 0x00000001
struct xenpf_enter_acpi_sleep {
    uint16_t val_a; /* for PM1a_CNT (or SLEEP_CONTROL) */
    uint16_t val_b;
    uint32_t sleep_state; /* 3 or 5 */
    uint32_t flags;
};
typedef struct xenpf_enter_acpi_sleep xenpf_enter_acpi_sleep_t;

#define XEN_PM_CX  0
#define XEN_PM_PX  1
#define XEN_PM_TX  2
#define XEN_PM_PDC 3
struct xenpf_set_processor_pminfo {
    uint32_t id; /* ACPI's of the processor */
    uint32_t type; /* XEN_PM_ */
    union {
        XEN_GUEST_HANDLE(uint32_t) pdc; /* revision, count, capabilities */
        uint64_t states[13]; /* of the other types, which the core does not read */
    } u;
};

struct xenpf_getidletime {
    XEN_GUEST_HANDLE(uint8_t) cpumap_bitmap;
    uint32_t cpumap_nr_cpus;
    XEN_GUEST_HANDLE(uint64_t) idletime;
    uint64_t now;
};
typedef struct xenpf_getidletime xenpf_getidletime_t;

#define XEN_PCPU_FLAGS_ONLINE  1
#define XEN_PCPU_FLAGS_INVALID 2
struct xenpf_pcpuinfo {
    uint32_t xen_cpuid; /* in */
    uint32_t max_present;
    uint32_t flags; /* XEN_PCPU_FLAGS_ */
    uint32_t apic_id;
    uint32_t acpi_id;
};
typedef struct xenpf_pcpuinfo xenpf_pcpuinfo_t;

struct xenpf_pcpu_version {
    uint32_t xen_cpuid; /* in */
    uint32_t max_present;
    char vendor_id[12];
    uint32_t family;
    uint32_t model;
    uint32_t stepping;
};
typedef struct xenpf_pcpu_version xenpf_pcpu_version_t;

struct xenpf_cpu_ol {
    uint32_t cpuid;
};
typedef struct xenpf_cpu_ol xenpf_cpu_ol_t;

struct xenpf_symdata {
    uint32_t namelen;
    uint32_t symnum;
    XEN_GUEST_HANDLE(char) name;
    uint64_t address;
    char type;
};
typedef struct xenpf_symdata xenpf_symdata_t;

struct xen_platform_op {
    uint32_t cmd;
    uint32_t interface_version;
    union {
        struct xenpf_settime32 settime32;
        struct xenpf_settime64 settime64;
        struct xenpf_read_memtype read_memtype;
        struct xenpf_firmware_info firmware_info;
        struct xenpf_enter_acpi_sleep enter_acpi_sleep;
        struct xenpf_set_processor_pminfo set_pminfo;
        struct xenpf_getidletime getidletime;
        struct xenpf_pcpuinfo pcpu_info;
        struct xenpf_pcpu_version pcpu_version;
        struct xenpf_cpu_ol cpu_ol;
        struct xenpf_symdata symdata;
        uint8_t pad[128];
    } u;
};
typedef struct xen_platform_op xen_platform_op_t;

#endif
