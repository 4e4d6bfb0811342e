"""A domain's nodes in xenstore: what the guest finds there, and what lets xend find the domain
again after a restart.

Layout, as guests expect it:
/local/domain/<id>/{name,domid,vm,memory,cpu,control,data,store,console,device}, and /vm/<uuid> with
what describes the domain however often it reboots.
"""

import json

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

    async def change(tx_id):
        await store.rm(home, tx_id)
        await store.mkdir(home, tx_id)
        await store.set_perms(home, ["n0", f"r{domid}"], tx_id)
        await store.mkdir(vm, tx_id)
        await store.set_perms(vm, ["n0", f"r{domid}"], tx_id)
        for path, value in nodes.items():
            await store.write(path, value, tx_id)
        await store.mkdir(f"{home}/device", tx_id)
        for name in ("data", "control/shutdown", "error", "drivers"):
            await store.mkdir(f"{home}/{name}", tx_id)
            await store.set_perms(f"{home}/{name}", [f"n{domid}"], tx_id)

    await store.atomically(change)


async def remove_domain(store, domid, config):
    """Remove all that `write_domain` and the devices wrote."""

    async def change(tx_id):
        await store.rm(f"/local/domain/{domid}", tx_id)
        await store.rm(f"/vm/{config.uuid}", tx_id)
        for kind in ("vbd", "vif"):
            path = f"/local/domain/0/backend/{kind}"
            await store.rm(f"{path}/{domid}", tx_id)
            await store.rm(f"/local/domain/0/error/backend/{kind}/{domid}", tx_id)
            if not await store.directory(path, tx_id):
                await store.rm(path, tx_id)
        if not await store.directory("/local/domain/0/backend", tx_id):
            await store.rm("/local/domain/0/backend", tx_id)

    await store.atomically(change)


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
    for path, value in (
        ("/local/domain/0/name", "Domain-0"),
        ("/local/domain/0/domid", 0),
        ("/local/domain/0/memory/target", memory_kib),
    ):
        await store.write(path, value)
