/*
 * The console's page: two byte rings, indices run freely. Source: Xen public ABI, io/console.h.
 */
#ifndef PROXEN_ABI_IO_CONSOLE_H
#define PROXEN_ABI_IO_CONSOLE_H

#include "../types.h"

typedef uint32_t XENCONS_RING_IDX;
#define MASK_XENCONS_IDX(idx, ring) ((idx) & (sizeof(ring) - 1))

struct xencons_interface {
    char in[1024];  /* to the guest */
    char out[2048]; /* from the guest */
    XENCONS_RING_IDX in_cons, in_prod;
    XENCONS_RING_IDX out_cons, out_prod;
};

#endif
