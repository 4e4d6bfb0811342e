/*
 * The page that a front end and a back end share: requests one way, responses the other, in the
 * same slots.
 *
 * Source: Xen public ABI, io/ring.h. Producer indices run freely and are masked on use; `*_event`
 * says at which index the other side wants the next notification, so a notification is needed only
 * when the index is passed.
 */
#ifndef PROXEN_ABI_IO_RING_H
#define PROXEN_ABI_IO_RING_H

#include "../types.h"

typedef unsigned int RING_IDX;

#define DEFINE_RING_TYPES(__name, __req_t, __rsp_t) \
    union __name##_sring_entry {                    \
        __req_t req;                                \
        __rsp_t rsp;                                \
    };                                              \
    struct __name##_sring {                         \
        RING_IDX req_prod, req_event;               \
        RING_IDX rsp_prod, rsp_event;               \
        union {                                     \
            uint8_t pvt_pad[4];                     \
        } pvt;                                      \
        uint8_t __pad[44];                          \
        union __name##_sring_entry ring[1];         \
    };                                              \
    typedef struct __name##_sring __name##_sring_t

#endif
