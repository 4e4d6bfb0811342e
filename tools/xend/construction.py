"""The making of a domain, step by step, with the way back.

Everything that can be refused is refused before the first hypercall. After it, each step registers
how to undo it, so a failure at any point leaves the machine as it was.
"""

import asyncio
import errno
import logging
import os
import uuid
from contextlib import AsyncExitStack

from xen import domctl, sysctl
from xen.privcmd import HypercallError

from xend import devices, records
from xend.builder import Images, build, plan
from xend.domain import Domain
from xend.errors import Refusal, bad_request, conflict
from xend.layout import TooLittleMemory
from xend.network import bridge_exists

# Frames that the hypervisor takes for itself: for a domain and its grants, and for each vCPU.
OVERHEAD_PAGES, VCPU_PAGES = 256, 16

log = logging.getLogger("xend")


class Constructor:
    """Makes domains out of configurations; `building` is {domid: Domain} of unfinished ones."""

    def __init__(self, xc, store, consoles, files, disks):
        self.xc, self.store, self.consoles = xc, store, consoles
        self.files, self.disks = files, disks
        self.building = {}

    async def construct(self, config, fresh=True):
        """Return a new Domain, paused; one that is not `fresh` keeps its disks.

        Errors: Refusal; nothing has changed.
        """
        run = asyncio.get_running_loop().run_in_executor
        images, elf_path = await run(None, self.load_images, config)
        layout = self.check(config, images)
        try:
            return await self._construct(config, images, elf_path, layout, fresh)
        except HypercallError as error:
            if error.errno == errno.ENOMEM:
                raise self.no_memory(config) from None
            raise failed(config, error) from error
        except OSError as error:
            raise failed(config, error) from error

    def load_images(self, config):
        """Return `(Images, path of the kernel's ELF file)`. Context: a worker thread."""
        kernel, elf_path = self.files.kernel(config.kernel)
        ramdisk = b""
        if config.ramdisk:
            with open(self.files.path(config.ramdisk, "ramdisk"), "rb") as file:
                ramdisk = file.read()
        return Images(kernel, memoryview(ramdisk), config.cmdline), elf_path

    def check(self, config, images):
        """Return the Layout, or refuse what cannot work."""
        try:
            layout = plan(images, config.memory)
        except TooLittleMemory as error:
            message = (
                f"{config.memory} MiB are too little memory for '{config.name}': its kernel and "
                f"ramdisk need {error.needed_mib} MiB; raise 'memory'."
            )
            raise bad_request("too_little_memory", message) from None
        needed = layout.nr_pages + OVERHEAD_PAGES + VCPU_PAGES * config.vcpus
        if sysctl.physinfo(self.xc).free_pages < needed:
            raise self.no_memory(config)
        config.disks = [self.disks.named(disk) for disk in config.disks]
        for disk in config.disks:
            self.disks.check(config.name, disk)
        for vif in config.vifs:
            if not bridge_exists(vif.bridge):
                message = (
                    f"dom0 has no bridge '{vif.bridge}'; use xenbr0, or make it with ip link add."
                )
                raise bad_request("bad_vif", message)
        return layout

    def no_memory(self, config):
        """Return the refusal of a domain that the machine has no room for."""
        free_mib = sysctl.physinfo(self.xc).free_pages >> 8
        message = (
            f"'{config.name}' asks for {config.memory} MiB, but only {free_mib} MiB of the machine "
            "are free; lower 'memory' or destroy another domain."
        )
        return conflict("no_free_memory", message)

    async def _construct(self, config, images, elf_path, layout, fresh):
        run = asyncio.get_running_loop().run_in_executor
        async with AsyncExitStack() as undo:
            handle = uuid.UUID(config.uuid).bytes
            domid = domctl.createdomain(self.xc, handle, config.vcpus)
            undo.callback(domctl.destroydomain, self.xc, domid)
            domain = self.building[domid] = Domain(config, domid, elf_path, building=True)
            undo.callback(self.building.pop, domid)
            built = await run(None, build, self.xc, domid, images, layout, config.vcpus)
            has_devices = bool(config.disks or config.vifs)
            undo.push_async_callback(
                records.remove_domain, self.store, domid, config.uuid, has_devices
            )
            await records.write_domain(
                self.store, domid, config, built, elf_path, domain.created_at
            )
            domain.console = self.consoles.open(
                config.name, domid, built.console_mfn, built.console_port
            )
            undo.callback(self.consoles.close, domid)
            await self.store.introduce(domid, built.store_mfn, built.store_port)
            undo.push_async_callback(self.store.release, domid)
            await self._add_devices(domain, fresh, undo)
            undo.pop_all()
        del self.building[domid]
        domain.building = False
        return domain

    async def _add_devices(self, domain, fresh, undo):
        run = asyncio.get_running_loop().run_in_executor
        config = domain.config
        for disk in config.disks:
            opened = await run(None, self.disks.open, config.name, disk, fresh)
            undo.callback(self.disks.close, config.name, opened)
            domain.disks.append(opened)
            domain.devices.append(devices.vbd(domain.domid, opened))
        for index, vif in enumerate(config.vifs):
            domain.devices.append(devices.vif(domain.domid, index, vif))
        if not domain.devices:
            return

        requests = [request for device in domain.devices for request in device.requests()]
        await self.store.atomically(lambda tx_id: self.store.batch(requests, tx_id))
        for device in domain.devices:
            undo.push_async_callback(device.gone, self.store)
        await asyncio.gather(*(device.started(self.store) for device in domain.devices))

    async def adopt(self, domid, info):
        """Return the Domain for one that runs already, made by an earlier xend; None if it is not
        ours.
        """
        found = await records.read_record(self.store, domid)
        if found is None:
            return None
        config, record = found
        domain = Domain(config, domid, record["elf_path"], created_at=record["created_at"])
        domain.info = info
        mfn, port = await records.read_console(self.store, domid)
        domain.console = self.consoles.open(config.name, domid, mfn, port, keep_log=True)
        for disk in config.disks:
            opened = await self._adopt_disk(domid, config, disk)
            domain.disks.append(opened)
            domain.devices.append(devices.vbd(domid, opened))
        domain.devices += [devices.vif(domid, i, vif) for i, vif in enumerate(config.vifs)]
        return domain

    async def _adopt_disk(self, domid, config, disk):
        back = devices.vbd_back_path(domid, disk)
        device = await self.store.read(f"{back}/params")
        path = await self.store.read(f"{back}/proxen-path")
        return self.disks.adopt(config.name, disk, path, device)


def failed(config, error):
    """Return the refusal for a failure that no check foresaw."""
    log.error("creating %s failed: %s", config.name, error)
    where = f" ({os.path.basename(error.filename)})" if getattr(error, "filename", None) else ""
    message = (
        f"Creating '{config.name}' failed and was undone: {error}{where}. "
        "See xend's log and 'xm dmesg'."
    )
    return Refusal(500, "create_failed", message)
