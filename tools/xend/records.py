"""A domain's nodes in xenstore: what the guest finds there, and what lets xend find the domain
again after a restart.

Layout, as guests expect it:
/local/domain/<id>/{name,domid,vm,memory,cpu,control,data,store,console,device}, and /vm/<uuid> with
what describes the domain however often it reboots.
"""

import json

from xen.xenstore import owned, removal, writes

from xend import config as configuration


async def write_domain(store, domid, config, built, elf_path, created_at):
    """Write a new domain's nodes in one transaction."""
    home, vm = f"/local/domain/{domid}", f"/vm/{config.uuid}"
    record = {"config": config.to_json(), "elf_path": elf_path, "created_at": created_at}
    nodes = {
        f"{vm}/name": config.name,
        f"{vm}/uuid": config.uuid,
        f"{vm}/proxen": json.dumps(record),
        f"{home}/vm": vm,
        f"{home}/name": config.name,
        f"{home}/domid": domid,
        f"{home}/memory/static-max": config.memory << 10,
        f"{home}/memory/target": config.memory << 10,
        f"{home}/store/ring-ref": built.store_mfn,
        f"{home}/store/port": built.store_port,
        f"{home}/console/ring-ref": built.console_mfn,
        f"{home}/console/port": built.console_port,
        f"{home}/console/type": "xenconsoled",
        f"{home}/control/platform-feature-multiprocessor-suspend": 1,
    }
    for vcpu in range(config.vcpus):
        nodes[f"{home}/cpu/{vcpu}/availability"] = "online"

    requests = removal(home)
    for path in (home, vm, f"{home}/device"):
        requests += owned(path, "n0", f"r{domid}")
    requests += writes(nodes)
    for name in ("data", "control/shutdown", "error", "drivers"):
        requests += owned(f"{home}/{name}", f"n{domid}")
    await store.atomically(lambda tx_id: store.batch(requests, tx_id))


async def remove_domain(store, domid, uuid, has_devices):
    """Remove all that `write_domain` and the devices wrote."""

    requests = removal(f"/local/domain/{domid}") + removal(f"/vm/{uuid}")
    await store.atomically(lambda tx_id: store.batch(requests, tx_id))
    if has_devices:
        await store.atomically(lambda tx_id: _remove_backends(store, domid, tx_id))


async def _remove_backends(store, domid, tx_id):
    """Remove what is left of a domain's back ends, and directories that are empty then."""
    for kind in ("vbd", "vif"):
        await store.rm(f"/local/domain/0/backend/{kind}/{domid}", tx_id)
        await store.rm(f"/local/domain/0/error/backend/{kind}/{domid}", tx_id)
    for area in ("error/backend", "error", "backend"):
        for path in (f"{area}/vbd", f"{area}/vif", area):
            if not await store.directory(f"/local/domain/0/{path}", tx_id):
                await store.rm(f"/local/domain/0/{path}", tx_id)


async def read_record(store, domid):
    """Return `(DomainConfig, record)` of a domain that an earlier xend made, or None."""
    vm = await store.read(f"/local/domain/{domid}/vm")
    text = await store.read(f"{vm}/proxen") if vm else None
    if not text:
        return None
    record = json.loads(text)
    return configuration.parse(record["config"]), record


async def read_console(store, domid):
    """Return `(mfn, port)` of a domain's console."""
    path = f"/local/domain/{domid}/console"
    return int(await store.read(f"{path}/ring-ref")), int(await store.read(f"{path}/port"))


async def write_dom0(store, memory_kib):
    """Describe domain 0, as guests and tools expect."""
    home = "/local/domain/0"
    nodes = {"name": "Domain-0", "domid": 0, "memory/target": memory_kib}
    await store.batch(writes({f"{home}/{key}": value for key, value in nodes.items()}))
