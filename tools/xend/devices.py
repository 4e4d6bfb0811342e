"""A domain's virtual devices in xenstore: front end and back end directories, and how they come and
go.

xend writes both directories in one transaction; Linux's back-end drivers in dom0 notice, and the
guest's front ends meet them there. What a distribution does in hotplug scripts, xend does itself.
Source: Xen public ABI, io/blkif.h, io/netif.h, io/xenbus.h.
"""

import errno
import logging
import os

import xen_codecs as abi
from xen.xenstore import owned, writes

from xend.disks import virtual_device
from xend.network import add_to_bridge, wait_for_interface

# Watchdogs: dom0's driver hangs. On a host with other work it may well be slow.
BACKEND_READY_S = 120
BACKEND_GONE_S = 60

_CONNECTED = {str(int(abi.XenbusStateConnected))}
_ACCEPTED = _CONNECTED | {str(int(abi.XenbusStateInitWait))}
_FINISHED = {None, str(int(abi.XenbusStateClosed))}
_FAILED = _FINISHED | {str(int(abi.XenbusStateClosing))}

log = logging.getLogger("xend")


def _decided(state):
    return state in _ACCEPTED | _FAILED


def _closed(state):
    return state in _FINISHED


def _connected_or_failed(state):
    return state in _CONNECTED | _FAILED


class Device:
    """One device: its kind and number, what its two directories hold beyond what all have."""

    def __init__(self, domid, kind, number, front, back):
        self.domid = domid
        self.front_path = f"/local/domain/{domid}/device/{kind}/{number}"
        self.back_path = f"/local/domain/0/backend/{kind}/{domid}/{number}"
        self.interface = f"{kind}{domid}.{number}"
        self.bridge = back.get("bridge")
        common = {"state": abi.XenbusStateInitialising}
        self.front = {"backend": self.back_path, "backend-id": 0, **common, **front}
        self.back = {
            "frontend": self.front_path,
            "frontend-id": domid,
            "online": 1,
            **common,
            **back,
        }

    def requests(self):
        """Return the store's requests that write both directories, the back end's last."""
        requests = owned(self.front_path, f"n{self.domid}", "r0")
        requests += owned(self.back_path, "n0", f"r{self.domid}")
        for path, content in ((self.front_path, self.front), (self.back_path, self.back)):
            requests += writes({f"{path}/{key}": value for key, value in content.items()})
        return requests

    async def started(self, store):
        """Wait until the back end accepts the device, and finish what hotplug has to do.

        Errors: OSError, the back end said no or nothing.
        """
        path = f"{self.back_path}/state"
        try:
            state = await store.wait_for(path, _decided, BACKEND_READY_S)
        except TimeoutError:
            state = None
        if state not in _ACCEPTED:
            reason = await store.read(f"/local/domain/0/error{self.back_path[15:]}/error")
            message = f"dom0's driver did not take {self.back_path}: {reason or 'no answer'}"
            raise OSError(errno.EIO, message)
        if self.bridge:
            await wait_for_interface(self.interface)
            add_to_bridge(self.interface, self.bridge)
            await store.write(f"{self.back_path}/hotplug-status", "connected")

    async def connected(self, store):
        """Wait until the guest's driver and dom0's have met; or dom0's has given up."""
        await store.wait_for(f"{self.back_path}/state", _connected_or_failed, None)

    async def gone(self, store):
        """Have the back end give up a device whose domain is dead, and remove both directories."""
        if await store.read(f"{self.back_path}/state") is not None:
            await store.write(f"{self.back_path}/online", 0)
            await store.write(f"{self.front_path}/state", int(abi.XenbusStateClosed))
            try:
                await store.wait_for(f"{self.back_path}/state", _closed, BACKEND_GONE_S)
            except TimeoutError:
                log.warning("dom0's driver does not let %s go", self.back_path)
        await store.rm(self.front_path)
        await store.rm(self.back_path)


def vbd_back_path(domid, disk):
    """Return the back end directory of a disk."""
    return f"/local/domain/0/backend/vbd/{domid}/{virtual_device(disk.vdev)}"


def vbd(domid, opened):
    """Return the Device of an OpenDisk."""
    number = virtual_device(opened.disk.vdev)
    writable = opened.disk.access == "rw"
    front = {"virtual-device": number, "device-type": "disk"}
    back = {
        "removable": 0,
        "bootable": 1,
        "dev": opened.disk.vdev,
        "type": "phy",
        "mode": "w" if writable else "r",
        "device-type": "disk",
        "params": opened.device,
        "proxen-path": opened.path,
        "physical-device": f"{os.major(opened.number):x}:{os.minor(opened.number):x}",
        "hotplug-status": "connected",
    }
    return Device(domid, "vbd", number, front, back)


def vif(domid, index, config):
    """Return the Device of a Vif."""
    front = {"handle": index, "mac": config.mac, "mtu": 1500}
    back = {"handle": index, "mac": config.mac, "bridge": config.bridge, "type": "vif"}
    back["script"] = "none: xend does what a hotplug script would"
    return Device(domid, "vif", index, front, back)
