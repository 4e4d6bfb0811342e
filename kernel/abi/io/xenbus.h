/*
 * The states that front and back end of a device write to xenstore. Source: Xen public ABI,
 * io/xenbus.h.
 */
#ifndef PROXEN_ABI_IO_XENBUS_H
#define PROXEN_ABI_IO_XENBUS_H

enum xenbus_state {
    XenbusStateUnknown = 0,
    XenbusStateInitialising = 1,
    XenbusStateInitWait = 2, /* the back end waits for the front end's details */
    XenbusStateInitialised = 3,
    XenbusStateConnected = 4,
    XenbusStateClosing = 5,
    XenbusStateClosed = 6,
    XenbusStateReconfiguring = 7,
    XenbusStateReconfigured = 8
};
typedef enum xenbus_state XenbusState;

#endif
