"""xend's HTTP interface; every answer is held to openapi.json."""

import asyncio
import errno
import re
import time

import pytest
import xen_codecs as abi
from xen import domctl
from xend import api, api_debug, api_trace, crash
from xend.devices import Device

from tests.toolstack import tiny_guest
from tests.toolstack.xend_in_process import DOCUMENT, read_stream, until, with_xend
from tools.setup.patience import PATIENCE_S


@with_xend
async def test_host(xend):
    host = await xend.call("GET", "/host")
    assert host["hypervisor"] == "4.17.0" and host["domains"] == 1
    assert "(XEN)" in await xend.call("GET", "/host/dmesg")
    assert (await xend.call("GET", "/openapi.json"))["openapi"].startswith("3.")


@with_xend
async def test_topology(xend):
    topology = await xend.call("GET", "/host/topology")
    assert [(c["cpu"], c["core"], c["socket"]) for c in topology["cpus"]] == [(0, 0, 0), (1, 1, 0)]
    (node,) = topology["nodes"]
    assert node["distances"] == [10] and 0 < node["free_memory_mib"] <= node["memory_mib"]


@with_xend
async def test_life_of_a_domain(xend):
    before = xend.footprint()
    domain = await xend.create()
    assert (domain["id"], domain["state"], domain["memory_mib"]) == (1, "blocked", 4)
    listed = (await xend.call("GET", "/domains"))["domains"]
    assert [item["name"] for item in listed] == ["Domain-0", "guest"]
    for key in ("guest", "1", domain["uuid"]):
        assert (await xend.call("GET", f"/domains/{key}"))["uuid"] == domain["uuid"]
    assert (await xend.call("POST", "/domains/guest/actions/pause"))["flags"] == "--p---"
    assert (await xend.call("POST", "/domains/guest/actions/unpause"))["state"] == "blocked"
    ended = await xend.call("DELETE", "/domains/guest")
    assert (ended["state"], ended["id"], ended["exit"]["reason"]) == ("ended", None, "destroyed")
    assert xend.footprint() == before
    assert len((await xend.call("GET", "/domains?ended=1"))["domains"]) == 2
    await xend.call("DELETE", "/domains/guest")
    await xend.refused(404, "GET", "/domains/guest")


@with_xend
async def test_paused_domain_waits(xend):
    assert (await xend.create(paused=True))["state"] == "paused"


@with_xend
async def test_upload_is_stored_once_and_boots(xend):
    data = tiny_guest.build(tiny_guest.SPIN)
    first = await xend.call("POST", "/files", data=data)
    assert await xend.call("POST", "/files", data=data) == first
    assert await xend.call("GET", f"/files/{first['id']}") == first
    assert (await xend.create(kernel=first["id"]))["id"] == 1


@pytest.mark.parametrize(
    ("status", "changes", "words"),
    [
        (404, {"kernel": "/no/such/file"}, "does not exist in dom0"),
        (404, {"ramdisk": "/no/such/ramdisk"}, "ramdisk '/no/such/ramdisk'"),
        (400, {"kernel": "/etc/passwd"}, "not a kernel that can be booted"),
        (400, {"memory": 1, "ramdisk": "BIG"}, "too little memory"),
        (409, {"memory": 60}, "only 4. MiB of the machine are free"),
        (400, {"memroy": 64}, "Did you mean 'memory'?"),
        (400, {"memory": "64"}, "must be a whole number"),
        (400, {"memory": 0}, "must be 1 to"),
        (400, {"vcpus": 33}, "must be 1 to 32"),
        (400, {"name": "a b"}, "cannot be a name"),
        (400, {"name": ""}, "lacks 'name'"),
        (400, {"uuid": "x"}, "is no uuid"),
        (400, {"on_crash": "destroi"}, "Did you mean 'destroy'?"),
        (400, {"cmdline": "x" * 2000}, "exceeds 1023 bytes"),
        (400, {"disks": [{"target": "/x"}]}, "needs 'target'"),
        (400, {"disks": [{"target": "/x", "vdev": "xvda", "acess": "r"}]}, "Did you mean 'access'"),
        (404, {"disks": [{"target": "/no/disk", "vdev": "xvda"}]}, "disk '/no/disk' does not"),
        (400, {"disks": [{"target": "/etc", "vdev": "xvda"}]}, "neither a file nor a block device"),
        (400, {"disks": 2 * [{"target": "/x", "vdev": "xvda"}]}, "Two disks"),
        (400, {"vifs": [{"mac": "1:2"}]}, "no MAC address"),
        (400, {"vifs": [{"bridge": "nobr"}]}, "no bridge 'nobr'"),
    ],
)
@with_xend
async def test_bad_configurations(xend, status, changes, words):
    if changes.get("ramdisk") == "BIG":
        (xend.folder / "big").write_bytes(bytes(2 << 20))
        changes = {**changes, "ramdisk": str(xend.folder / "big")}
    config = {"name": "guest", "kernel": xend.kernel, "memory": 4, **changes}
    message = await xend.refused(status, "POST", "/domains", config)
    assert re.search(words, message), message


@with_xend
async def test_other_bad_requests(xend):
    await xend.create()
    config = {"name": "guest", "kernel": xend.kernel}
    assert "exists already" in await xend.refused(409, "POST", "/domains", config)
    assert "not JSON" in await xend.refused(400, "POST", "/domains", data=b"{")
    assert "JSON object" in await xend.refused(400, "POST", "/domains", [])
    assert "Did you mean 'guest'" in await xend.refused(404, "GET", "/domains/gest")
    message = await xend.refused(404, "POST", "/domains/guest/actions/puase")
    assert "Did you mean 'pause'" in message
    assert "not paused" in await xend.refused(409, "POST", "/domains/guest/actions/unpause")
    assert "no disk" in await xend.refused(404, "GET", "/domains/guest/disks/xvda")
    await xend.call("DELETE", "/domains/guest")
    assert "has ended" in await xend.refused(409, "POST", "/domains/guest/actions/pause")


@with_xend
async def test_disk_in_use_is_busy(xend):
    image = xend.folder / "disk.img"
    image.write_bytes(bytes(4096))
    xend.manager.disks.users[str(image)] = [("other", True)]
    config = {"name": "guest", "kernel": xend.kernel, "memory": 4}
    config["disks"] = [{"target": str(image), "vdev": "xvda", "access": "ro"}]
    assert "domain 'other' uses it" in await xend.refused(409, "POST", "/domains", config)


@pytest.mark.parametrize(
    "operation",
    [
        "XEN_DOMCTL_createdomain",
        "XEN_DOMCTL_max_vcpus",
        "XEN_DOMCTL_max_mem",
        "XENMEM_populate_physmap",
        "XEN_DOMCTL_hypercall_init",
        "EVTCHNOP_alloc_unbound",
        "MMUEXT_PIN_L4_TABLE",
        "XEN_DOMCTL_setvcpucontext",
    ],
)
@with_xend
async def test_a_failure_at_any_step_is_undone(xend, operation):
    xend.xen.fail[operation] = errno.EINVAL
    config = {"name": "guest", "kernel": xend.kernel, "memory": 4}
    assert operation in await xend.refused(500, "POST", "/domains", config)
    xend.xen.fail.clear()
    await xend.create()


@with_xend
async def test_memory_that_runs_out_is_no_bug(xend):
    xend.xen.fail["XENMEM_populate_physmap"] = errno.ENOMEM
    config = {"name": "guest", "kernel": xend.kernel, "memory": 4}
    assert "are free" in await xend.refused(409, "POST", "/domains", config)


@pytest.mark.parametrize(
    ("written", "reason", "expected"),
    [
        (None, abi.SHUTDOWN_poweroff, {"reason": "poweroff", "code": 0}),
        ("42", abi.SHUTDOWN_poweroff, {"reason": "poweroff", "code": 42}),
        ("rubbish", abi.SHUTDOWN_poweroff, {"reason": "poweroff", "code": 0}),
        ("42", abi.SHUTDOWN_crash, {"reason": "crash", "code": 6}),
        (None, abi.SHUTDOWN_watchdog, {"reason": "watchdog", "code": 6}),
    ],
)
@with_xend
async def test_how_a_domain_ends(xend, written, reason, expected):
    before = xend.footprint()
    await xend.create()
    if written:
        await xend.store.write("/local/domain/1/data/exit-code", written)
    xend.xen.shutdown(1, reason)
    ended = await xend.until("guest", lambda domain: domain["state"] == "ended")
    assert ended["exit"] == expected
    assert bool(ended["crash"]) == (expected["reason"] == "crash")
    assert xend.footprint() == before


@with_xend
async def test_crash_report_names_functions(xend):
    (xend.folder / "kernel.elf").write_bytes(tiny_guest.link(tiny_guest.CRASH_PARTS))
    await xend.create(on_crash="preserve")
    xend.xen.domains[1].contexts[0].user_regs.rip = tiny_guest.CODE + 0x12
    xend.xen.shutdown(1, abi.SHUTDOWN_crash)
    crashed = await xend.until("guest", lambda domain: domain["crash"])
    assert crashed["state"] == "crashed" and crashed["flags"] == "---sc-"
    (vcpu,) = crashed["crash"]["vcpus"]
    assert vcpu["backtrace"][0]["symbol"] == "outer"
    dmesg = await xend.call("GET", "/host/dmesg")
    assert "xend: d1v0 of 'guest' crashed at\n" in dmesg and " outer+0x1\n" in dmesg
    await xend.call("DELETE", "/domains/guest")


@with_xend
async def test_guests_that_crash_one_after_another_do_not_fill_the_console(xend):
    for domid in range(1, crash.REPORTS_MAX + 4):
        await xend.create(f"guest{domid}")
        xend.xen.shutdown(domid, abi.SHUTDOWN_crash)
        await xend.until(f"guest{domid}", lambda domain: domain["state"] == "ended")
    dmesg = await xend.call("GET", "/host/dmesg")
    assert dmesg.count("crashed at") == crash.REPORTS_MAX


@with_xend
async def test_reboot_makes_the_domain_anew(xend):
    first = await xend.create()
    xend.xen.shutdown(1, abi.SHUTDOWN_reboot)
    again = await xend.until("guest", lambda domain: domain["id"] == 2)
    assert again["uuid"] == first["uuid"] and again["state"] != "ended"


def is_started(domain, domid):
    """Tell whether a domain has this id and could shut down."""
    return domain["id"] == domid and domain["state"] not in ("building", "paused")


@with_xend
async def test_a_domain_that_only_reboots_is_left_ended(xend, monkeypatch, caplog):
    monkeypatch.setattr("xend.manager.QUICK_REBOOT_S", PATIENCE_S)
    await xend.create()
    for domid in range(1, 5):
        await xend.until("guest", lambda domain, domid=domid: is_started(domain, domid))
        xend.xen.shutdown(domid, abi.SHUTDOWN_reboot)
    ended = await xend.until("guest", lambda domain: domain["state"] == "ended")
    assert ended["exit"]["reason"] == "reboot"
    await until(lambda: "reboots without end" in caplog.text)
    assert (await xend.call("GET", "/domains/guest"))["state"] == "ended"


@with_xend
async def test_a_life_ends_before_it_is_reported(xend, monkeypatch):
    """Else a guest whose report takes long could crash and be restarted for ever."""
    reported_at, lives = [], []

    def report(*_):
        reported_at.append(time.time())
        return {"vcpus": []}

    async def restart(domain, lived_s):
        lives.append(lived_s)

    monkeypatch.setattr("xend.crash.report", report)
    monkeypatch.setattr(xend.manager, "restart", restart)
    await xend.create(on_crash="restart")
    created_at = xend.manager.find("guest").created_at
    xend.xen.shutdown(1, abi.SHUTDOWN_crash)
    while not lives:
        await asyncio.sleep(0.01)
    assert lives[0] <= reported_at[0] - created_at


@with_xend
async def test_shutdown_asks_the_guest(xend):
    await xend.create()
    await xend.call("POST", "/domains/guest/actions/shutdown")
    assert await xend.store.read("/local/domain/1/control/shutdown") == "poweroff"


async def create_with_a_card(xend):
    """Create a domain with a network card that nobody serves; returns the path of its state."""
    await xend.create()
    card = Device(1, "vif", 0, {}, {})
    await xend.store.batch(card.requests(), 0)
    xend.manager.find("guest").devices.append(card)
    return f"{card.back_path}/state"


@with_xend
async def test_a_client_can_wait_until_the_devices_are_connected(xend):
    state = await create_with_a_card(xend)
    waiting = asyncio.ensure_future(xend.call("GET", "/domains/guest/connected"))
    await xend.store.write(state, int(abi.XenbusStateInitWait))
    await xend.until("guest", lambda domain: xend.manager.listeners)
    assert not waiting.done()
    await xend.store.write(state, int(abi.XenbusStateConnected))
    assert (await waiting)["exit"] is None
    assert not xend.manager.listeners


@with_xend
async def test_who_waits_for_devices_hears_of_the_domains_end(xend):
    await create_with_a_card(xend)
    waiting = asyncio.ensure_future(xend.call("GET", "/domains/guest/connected"))
    await xend.until("guest", lambda domain: xend.manager.listeners)
    xend.xen.shutdown(1, abi.SHUTDOWN_poweroff)
    assert (await waiting)["exit"]["reason"] == "poweroff"
    assert (await xend.call("GET", "/domains/guest/connected"))["exit"]["reason"] == "poweroff"


@with_xend
async def test_console_log_outlives_the_domain(xend):
    await xend.create()
    xend.print(1, b"first\n")
    xend.print(1, b"second\n" * 200)
    await xend.call("DELETE", "/domains/guest")
    text = await xend.call("GET", "/domains/guest/console")
    assert text == "first\n" + "second\n" * 200
    assert (xend.folder / "log" / "console-guest.log").read_text() == text


@with_xend
async def test_console_stream_carries_both_ways_and_says_how_it_ended(xend):
    await xend.create()
    xend.print(1, b"before ")
    socket = await xend.client.ws_connect("/api/v1/domains/guest/console/stream")
    await socket.send_bytes(b"typed")
    reading = asyncio.ensure_future(read_stream(socket))
    await until(lambda: bytes(xend.console_page(1)[:5]) == b"typed")
    xend.print(1, b"after")
    await xend.store.write("/local/domain/1/data/exit-code", 3)
    xend.xen.shutdown(1, abi.SHUTDOWN_poweroff)
    data, last = await reading
    assert data == b"before after"
    assert last == {"event": "end", "exit": {"reason": "poweroff", "code": 3}}
    late = await xend.client.ws_connect("/api/v1/domains/guest/console/stream")
    assert (await read_stream(late))[0] == b"before after"


@with_xend
async def test_console_can_be_followed_without_a_websocket(xend):
    await xend.create()
    xend.print(1, b"hello")
    asyncio.get_running_loop().call_later(0.1, xend.xen.shutdown, 1, abi.SHUTDOWN_poweroff)
    assert await xend.call("GET", "/domains/guest/console?follow=1") == "hello"


@with_xend
async def test_messages_are_read_for_no_client_that_has_left(xend, monkeypatch):
    times = []

    def readconsole(xc, **arguments):
        times.append(arguments)
        return "", 0

    monkeypatch.setattr("xend.api.sysctl.readconsole", readconsole)
    monkeypatch.setattr("xend.api.FOLLOW_S", 0.01)
    response = await xend.client.get("/api/v1/host/dmesg?follow=1")
    while len(times) < 3:
        await asyncio.sleep(0.01)
    response.close()
    for _ in range(20):
        before = len(times)
        await asyncio.sleep(0.2)
        if len(times) == before:
            return
    raise AssertionError("the messages are still read")


@pytest.mark.parametrize("index", range(4))
@with_xend
async def test_wild_console_indices_harm_nobody(xend, index):
    await xend.create()
    page = xend.console_page(1).cast("I")
    page[0xC00 // 4 + index] = 0x90000001
    xend.events.fire(1, 2)
    xend.manager.find("guest").console.type(b"x" * 3000)
    xend.events.fire(1, 2)
    page.release()
    await xend.call("DELETE", "/domains/guest")


@with_xend
async def test_xend_can_be_restarted(xend):
    before = xend.footprint()
    await xend.create()
    xend.print(1, b"early ")
    xend.consoles.mapped[1][1].close()
    await xend.stop()
    await xend.start()
    domain = await xend.call("GET", "/domains/guest")
    assert (domain["id"], domain["config"]["memory"]) == (1, 4)
    xend.print(1, b"late")
    assert await xend.call("GET", "/domains/guest/console") == "early late"
    assert "exists already" in await xend.refused(
        409, "POST", "/domains", {"name": "guest", "kernel": xend.kernel}
    )
    await xend.call("DELETE", "/domains/guest")
    assert xend.footprint()[:2] == before[:2]


@with_xend
async def test_a_domain_without_records_is_listed(xend):
    domctl.createdomain(xend.xen, bytes(16), 1)
    names = [domain["name"] for domain in (await xend.call("GET", "/domains"))["domains"]]
    assert names == ["Domain-0", "(unknown)"]


@with_xend
async def test_fifty_domains_leave_nothing(xend):
    before = xend.footprint()
    for _ in range(50):
        await xend.create()
        await xend.call("DELETE", "/domains/guest")
    assert xend.footprint() == before


@with_xend
async def test_domains_made_at_once(xend):
    made = await asyncio.gather(*(xend.create(f"guest{i}") for i in range(5)))
    assert sorted(domain["id"] for domain in made) == [1, 2, 3, 4, 5]
    same = await asyncio.gather(*(xend.create("twin") for _ in range(3)), return_exceptions=True)
    assert sum(isinstance(result, dict) for result in same) == 1


def test_the_openapi_file_covers_every_route():

    tables = (api.routes, api_debug.routes, api_trace.routes)
    served = {(method.lower(), path) for routes in tables for method, path, _ in routes.table}
    declared = {
        (method, path)
        for path, operations in DOCUMENT["paths"].items()
        for method in operations
        if method != "parameters"
    }
    assert served == declared


@with_xend
async def test_domain_0_and_strangers(xend):
    assert (await xend.call("GET", "/domains/Domain-0"))["id"] == 0
    for method, path in (("DELETE", "/domains/0"), ("POST", "/domains/Domain-0/actions/pause")):
        assert "nothing may stop it" in await xend.refused(409, method, path)
    before = xend.footprint()
    domid = domctl.createdomain(xend.xen, bytes(range(16)), 1)
    assert "did not make" in await xend.refused(404, "GET", f"/domains/{domid}/console")
    assert (await xend.call("DELETE", f"/domains/{domid}"))["state"] == "ended"
    assert xend.footprint() == before


@with_xend
async def test_a_hostile_exit_code_does_not_stop_the_end(xend):
    before = xend.footprint()
    await xend.create()
    await xend.store.write("/local/domain/1/data/exit-code", "²" * 500)
    xend.xen.shutdown(1, abi.SHUTDOWN_poweroff)
    ended = await xend.until("guest", lambda domain: domain["state"] == "ended")
    assert ended["exit"]["code"] == 0 and xend.footprint() == before


@with_xend
async def test_destroying_while_it_ends_is_harmless(xend):
    await xend.create()
    xend.xen.shutdown(1, abi.SHUTDOWN_poweroff)
    assert (await xend.call("DELETE", "/domains/guest"))["state"] == "ended"
