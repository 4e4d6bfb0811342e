/*
 * The entries of a memory map, as the PC's firmware lays them out. Source: ACPI 6, 15; Xen public
 * ABI, hvm/e820.h.
 */
#ifndef PROXEN_ABI_HVM_E820_H
#define PROXEN_ABI_HVM_E820_H

#include "../types.h"

#define E820_RAM      1
#define E820_RESERVED 2
#define E820_ACPI     3
#define E820_NVS      4
#define E820_UNUSABLE 5

struct e820entry {
    uint64_t addr;
    uint64_t size;
    uint32_t type;
} __attribute__((packed));

#endif
