/*
 * The heart of the ABI: hypercall numbers, virtual interrupts, and the memory shared by hypervisor
 * and guest.
 *
 * Source: Xen public ABI, xen.h. A 64-bit PV guest makes hypercall n by calling its hypercall page
 * + 32 * n, arguments in rdi, rsi, rdx, r10, r8, result in rax.
 */
#ifndef PROXEN_ABI_XEN_H
#define PROXEN_ABI_XEN_H

#include "types.h"
#include "arch-x86/xen.h"
#include "mmu.h"

#define __HYPERVISOR_set_trap_table               0
#define __HYPERVISOR_mmu_update                   1
#define __HYPERVISOR_set_gdt                      2
#define __HYPERVISOR_stack_switch                 3
#define __HYPERVISOR_set_callbacks                4
#define __HYPERVISOR_fpu_taskswitch               5
#define __HYPERVISOR_sched_op_compat              6
#define __HYPERVISOR_platform_op                  7
#define __HYPERVISOR_set_debugreg                 8
#define __HYPERVISOR_get_debugreg                 9
#define __HYPERVISOR_update_descriptor           10
#define __HYPERVISOR_memory_op                   12
#define __HYPERVISOR_multicall                   13
#define __HYPERVISOR_update_va_mapping           14
#define __HYPERVISOR_set_timer_op                15
#define __HYPERVISOR_event_channel_op_compat     16
#define __HYPERVISOR_xen_version                 17
#define __HYPERVISOR_console_io                  18
#define __HYPERVISOR_physdev_op_compat           19
#define __HYPERVISOR_grant_table_op              20
#define __HYPERVISOR_vm_assist                   21
#define __HYPERVISOR_update_va_mapping_otherdomain 22
#define __HYPERVISOR_iret                        23
#define __HYPERVISOR_vcpu_op                     24
#define __HYPERVISOR_set_segment_base            25
#define __HYPERVISOR_mmuext_op                   26
#define __HYPERVISOR_xsm_op                      27
#define __HYPERVISOR_nmi_op                      28
#define __HYPERVISOR_sched_op                    29
#define __HYPERVISOR_callback_op                 30
#define __HYPERVISOR_xenoprof_op                 31
#define __HYPERVISOR_event_channel_op            32
#define __HYPERVISOR_physdev_op                  33
#define __HYPERVISOR_hvm_op                      34
#define __HYPERVISOR_sysctl                      35
#define __HYPERVISOR_domctl                      36
#define __HYPERVISOR_kexec_op                    37
#define __HYPERVISOR_tmem_op                     38
#define __HYPERVISOR_argo_op                     39
#define __HYPERVISOR_xenpmu_op                   40
#define __HYPERVISOR_dm_op                       41
#define __HYPERVISOR_hypfs_op                    42
#define __HYPERVISOR_arch_0                      48
#define __HYPERVISOR_arch_1                      49
#define __HYPERVISOR_arch_2                      50
#define __HYPERVISOR_arch_3                      51
#define __HYPERVISOR_arch_4                      52
#define __HYPERVISOR_arch_5                      53
#define __HYPERVISOR_arch_6                      54
#define __HYPERVISOR_arch_7                      55

/* Virtual interrupts. V: one for each vCPU. G: one for the whole machine, normally bound by
 * dom0. */
#define VIRQ_TIMER       0 /* V: the one-shot or periodic timer expired */
#define VIRQ_DEBUG       1 /* V: asked for by debug key 'q' */
#define VIRQ_CONSOLE     2 /* G: a byte arrived on the machine's console */
#define VIRQ_DOM_EXC     3 /* G: a domain shut down, crashed or died */
#define VIRQ_TBUF        4 /* G: trace records are ready */
#define VIRQ_DEBUGGER    6 /* G: a domain paused for its debugger */
#define VIRQ_XENOPROF    7 /* V */
#define VIRQ_CON_RING    8 /* G: the hypervisor's message log grew */
#define VIRQ_PCPU_STATE  9 /* G: a physical CPU went on or off line */
#define VIRQ_MEM_EVENT  10 /* G */
#define VIRQ_ARGO       11 /* G */
#define VIRQ_ENOMEM     12 /* G: memory is short */
#define VIRQ_XENPMU     13 /* V */
#define VIRQ_ARCH_0     16
#define VIRQ_ARCH_1     17
#define VIRQ_ARCH_2     18
#define VIRQ_ARCH_3     19
#define VIRQ_ARCH_4     20
#define VIRQ_ARCH_5     21
#define VIRQ_ARCH_6     22
#define VIRQ_ARCH_7     23
#define NR_VIRQS        24

/* console_io(command, count, buffer) */
#define CONSOLEIO_write 0
#define CONSOLEIO_read  1

/* vm_assist(command, type) */
#define VMASST_CMD_enable  0
#define VMASST_CMD_disable 1
#define VMASST_TYPE_4gb_segments         0
#define VMASST_TYPE_4gb_segments_notify  1
#define VMASST_TYPE_writable_pagetables  2 /* writes to them are emulated: always on */
#define VMASST_TYPE_pae_extended_cr3     3
#define VMASST_TYPE_architectural_iopl   4 /* iopl shows in the guest's flags */
#define VMASST_TYPE_runstate_update_flag 5 /* XEN_RUNSTATE_UPDATE marks a write in progress */
#define VMASST_TYPE_m2p_strict          32 /* the m2p table is hidden from user mode */

/* Domain numbers from DOMID_FIRST_RESERVED on are no domains but have a meaning of their own. */
#define DOMID_FIRST_RESERVED 0x7FF0U
#define DOMID_SELF           0x7FF0U
#define DOMID_IO             0x7FF1U /* owner of device memory */
#define DOMID_XEN            0x7FF2U /* owner of the hypervisor's own shareable frames */
#define DOMID_COW            0x7FF3U
#define DOMID_INVALID        0x7FF4U
#define DOMID_IDLE           0x7FFFU
#define DOMID_MASK           0x7FFFU

struct multicall_entry {
    xen_ulong_t op, result;
    xen_ulong_t args[6];
};
typedef struct multicall_entry multicall_entry_t;

/*
 * ns since boot = system_time + ((tsc - tsc_timestamp) << tsc_shift) * tsc_to_system_mul >> 32
 * (right shift when negative). An odd version means that the hypervisor is writing; read version,
 * fields, version again.
 */
struct vcpu_time_info {
    uint32_t version;
    uint32_t pad0;
    uint64_t tsc_timestamp;
    uint64_t system_time; /* ns since boot, when the TSC was tsc_timestamp */
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags;
    uint8_t pad1[2];
};
typedef struct vcpu_time_info vcpu_time_info_t;
#define XEN_PVCLOCK_TSC_STABLE_BIT (1 << 0)
#define XEN_PVCLOCK_GUEST_STOPPED  (1 << 1)

struct vcpu_info {
    uint8_t evtchn_upcall_pending; /* an event wants the upcall */
    uint8_t evtchn_upcall_mask;    /* PV's interrupt flag, inverted: the guest sets and clears it */
    xen_ulong_t evtchn_pending_sel; /* which words of evtchn_pending to look at */
    struct arch_vcpu_info arch;
    struct vcpu_time_info time;
};
typedef struct vcpu_info vcpu_info_t;

/* One page a domain, mapped by the guest; start_info.shared_info is its machine address. */
struct shared_info {
    struct vcpu_info vcpu_info[XEN_LEGACY_MAX_VCPUS];
    xen_ulong_t evtchn_pending[64]; /* one bit a port */
    xen_ulong_t evtchn_mask[64];
    uint32_t wc_version; /* as vcpu_time_info.version, for the wall clock */
    uint32_t wc_sec;     /* wall clock at system time 0, seconds since 1970, low half */
    uint32_t wc_nsec;
    uint32_t wc_sec_hi;
    struct arch_shared_info arch;
};
typedef struct shared_info shared_info_t;

#define MAX_GUEST_CMDLINE 1024

/* Found by a PV kernel at its entry in rsi. */
struct start_info {
    char magic[32];            /* "xen-3.0-x86_64" */
    unsigned long nr_pages;    /* memory of the domain, in pages */
    unsigned long shared_info; /* machine address */
    uint32_t flags;            /* SIF_ */
    xen_pfn_t store_mfn;       /* xenstore ring */
    uint32_t store_evtchn;
    union {
        struct {
            xen_pfn_t mfn; /* console ring */
            uint32_t evtchn;
        } domU;
        struct {
            uint32_t info_off; /* a dom0_vga_console_info, this far into start_info */
            uint32_t info_size;
        } dom0;
    } console;
    unsigned long pt_base;      /* virtual address of the L4 page table */
    unsigned long nr_pt_frames; /* frames of the page tables that the builder made */
    unsigned long mfn_list;     /* virtual address of the pfn -> mfn array */
    unsigned long mod_start;    /* ramdisk: virtual address, or pfn when SIF_MOD_START_PFN */
    unsigned long mod_len;      /* bytes */
    int8_t cmd_line[MAX_GUEST_CMDLINE];
    unsigned long first_p2m_pfn; /* with XEN_ELFNOTE_INIT_P2M: the pfn -> mfn array */
    unsigned long nr_p2m_frames;
};
typedef struct start_info start_info_t;

#define SIF_PRIVILEGED      (1 << 0)
#define SIF_INITDOMAIN      (1 << 1)
#define SIF_MULTIBOOT_MOD   (1 << 2) /* mod_start is a xen_multiboot_mod_list */
#define SIF_MOD_START_PFN   (1 << 3)
#define SIF_VIRT_P2M_4TOOLS (1 << 4) /* the toolstack understands arch_shared_info.p2m_vaddr */
#define SIF_PM_MASK         (0xFF << 8)

struct xen_multiboot_mod_list {
    uint32_t mod_start;
    uint32_t mod_end;
    uint32_t cmdline;
    uint32_t pad;
};

#define XEN_VGATYPE_TEXT_MODE_3 0x03
#define XEN_VGATYPE_VESA_LFB    0x23
#define XEN_VGATYPE_EFI_LFB     0x70

struct dom0_vga_console_info {
    uint8_t video_type;
    union {
        struct {
            uint16_t font_height;
            uint16_t cursor_x, cursor_y;
            uint16_t rows, columns;
        } text_mode_3;
        struct {
            uint16_t width, height;
            uint16_t bytes_per_line;
            uint16_t bits_per_pixel;
            uint32_t lfb_base;
            uint32_t lfb_size;
            uint8_t red_pos, red_size;
            uint8_t green_pos, green_size;
            uint8_t blue_pos, blue_size;
            uint8_t rsvd_pos, rsvd_size;
            uint32_t gbl_caps;
            uint16_t mode_attrs;
            uint16_t pad;
            uint32_t ext_lfb_base;
        } vesa_lfb;
    } u;
};
typedef struct dom0_vga_console_info dom0_vga_console_info_t;

struct xenctl_bitmap {
    XEN_GUEST_HANDLE_64(uint8_t) bitmap;
    uint32_t nr_bits;
};
typedef struct xenctl_bitmap xenctl_bitmap_t;

#endif
