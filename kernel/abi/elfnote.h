/*
 * ELF notes, owner "Xen", by which a kernel says how it wants to be loaded. Source: Xen public ABI,
 * elfnote.h.
 */
#ifndef PROXEN_ABI_ELFNOTE_H
#define PROXEN_ABI_ELFNOTE_H

#define XEN_ELFNOTE_INFO                0
#define XEN_ELFNOTE_ENTRY               1 /* virtual address */
#define XEN_ELFNOTE_HYPERCALL_PAGE      2 /* virtual address of a page that the builder fills */
#define XEN_ELFNOTE_VIRT_BASE           3 /* virtual address of pfn 0 */
#define XEN_ELFNOTE_PADDR_OFFSET        4 /* what the p_paddr of the ELF file are relative to */
#define XEN_ELFNOTE_XEN_VERSION         5 /* "xen-3.0" */
#define XEN_ELFNOTE_GUEST_OS            6
#define XEN_ELFNOTE_GUEST_VERSION       7
#define XEN_ELFNOTE_LOADER              8 /* "generic" */
#define XEN_ELFNOTE_PAE_MODE            9
#define XEN_ELFNOTE_FEATURES           10 /* names joined by '|', '!' before one that is required */
#define XEN_ELFNOTE_BSD_SYMTAB         11
#define XEN_ELFNOTE_HV_START_LOW       12 /* lowest address the hypervisor may take */
#define XEN_ELFNOTE_L1_MFN_VALID       13 /* pairs mask, value: which l1e hold an mfn */
#define XEN_ELFNOTE_SUSPEND_CANCEL     14
#define XEN_ELFNOTE_INIT_P2M           15 /* virtual address for the pfn -> mfn array */
#define XEN_ELFNOTE_MOD_START_PFN      16 /* 1: the ramdisk need not be mapped */
#define XEN_ELFNOTE_SUPPORTED_FEATURES 17 /* bits, as XENFEAT_ numbers them */
#define XEN_ELFNOTE_PHYS32_ENTRY       18
#define XEN_ELFNOTE_MAX XEN_ELFNOTE_PHYS32_ENTRY

#endif
