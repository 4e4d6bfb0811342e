"""xm: its output, its exit codes, and its commands against xend in this process."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
import xen_codecs as abi
from xm import output
from xm.__main__ import main

from tests.toolstack import tiny_guest
from tests.toolstack.xend_in_process import with_xend
from tools.setup.patience import PATIENCE_S

XM = Path(__file__).parents[2] / "xm"
DOMAIN = {
    "id": 3,
    "name": "hello",
    "uuid": "u",
    "state": "running",
    "flags": "r-----",
    "memory_mib": 32,
    "vcpus": 1,
    "cpu_time_s": 1.25,
    "exit": None,
    "crash": None,
}


def test_list_has_xms_columns():
    lines = output.domain_table([DOMAIN]).splitlines()
    assert lines[0].split() == ["Name", "ID", "Mem(MiB)", "VCPUs", "State", "Time(s)"]
    assert lines[1].split() == ["hello", "3", "32", "1", "r----", "1.2"]
    assert lines[1].index("3") < 40
    assert output.domain_table([DOMAIN], xl=True).splitlines()[1].split()[4] == "r-----"


def test_crash_is_readable():
    frame = {"address": "0x10", "symbol": "main", "offset": 4}
    frame |= {"inlined": False, "file": str(Path.cwd() / "main.py"), "line": 7}
    report = {"vcpus": [{"vcpu": 0, "registers": {"rip": "0x10"}, "backtrace": [frame]}]}
    text = output.domain({**DOMAIN, "crash": report, "exit": {"reason": "crash", "code": 6}})
    assert "0x10 main+0x4 main.py:7" in text and "crash, exit code 6" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lst"], "did you mean 'list'"),
        (["frobnicate"], "'xm --help' lists all"),
        ([], "required"),
        (["pause"], "required"),
        (["list", "--jsno"], "--jsno"),
        (["create", "memroy=3", "name=x"], "did you mean 'memory'"),
        (["create", "/no/such.cfg"], "cannot read the domain file"),
        (["create", "kernel=/dev/null"], "has no name"),
    ],
)
def test_wrong_usage_is_2_and_one_sentence(capsys, arguments, words):
    try:
        code = main(arguments)
    except SystemExit as leaving:
        code = leaving.code
    err = capsys.readouterr().err
    assert code == 2 and words in err
    assert err.startswith("xm") and err.count("\n") == 1


def test_without_xend_it_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setenv("PROXEN_URL", "http://127.0.0.1:1")
    assert main(["list"]) == 1
    assert "make up" in capsys.readouterr().err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["create", "--help"])
    assert "kernel  = " in capsys.readouterr().out


async def xm(xend, *arguments, stdin=None):
    """Run xm as a program; returns (exit code, standard output, standard error)."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(XM),
        *arguments,
        env={"PROXEN_URL": xend.url},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    return process.returncode, out.decode(), err.decode()


def write_cfg(xend, kernel, text=""):
    """Write a domain file next to its kernel, which it names without a folder."""
    (xend.folder / "guest.elf").write_bytes(kernel)
    path = xend.folder / "guest.cfg"
    path.write_text(f'name = "guest"\nkernel = "guest.elf"\nmemory = 4\n{text}')
    return str(path)


@with_xend
async def test_commands(xend):
    cfg = write_cfg(xend, tiny_guest.build(tiny_guest.SPIN))
    assert (await xm(xend, "create", cfg, "memory=5"))[0] == 0
    code, out, _ = await xm(xend, "list", "--json")
    assert code == 0 and json.loads(out)[1]["memory_mib"] == 5
    assert (await xm(xend, "pause", "guest"))[0] == 0
    assert "--p--" in (await xm(xend, "list", "guest"))[1]
    assert (await xm(xend, "unpause", "guest"))[0] == 0
    code, _, err = await xm(xend, "create", cfg)
    assert code == 1 and "exists already" in err
    xend.print(1, b"some text\n")
    assert (await xm(xend, "log", "guest"))[1] == "some text\n"
    assert "nr_cpus          : 2" in (await xm(xend, "info"))[1]
    assert "  1:       1        0        0\n" in (await xm(xend, "info", "-n"))[1]
    assert "(XEN)" in (await xm(xend, "dmesg", "-c"))[1]
    assert await xm(xend, "dmesg") == (0, "", "")
    assert await xm(xend, "debug-keys", "dq") == (0, "(XEN) keys dq\n", "")
    assert (await xm(xend, "dmesg"))[1] == "(XEN) keys dq\n"
    assert "no debug keys" in (await xm(xend, "debug-keys", "ä"))[2]
    assert (await xm(xend, "shutdown", "guest"))[0] == 0
    assert (await xm(xend, "destroy", "guest"))[0] == 0
    assert "ended" in (await xm(xend, "show", "guest"))[1]
    assert "guest" in (await xm(xend, "list", "-a"))[1]
    assert "guest" not in (await xm(xend, "list"))[1]
    assert (await xm(xend, "destroy", "gust"))[0] == 1


@with_xend
async def test_run_shows_the_console_and_exits_with_the_guests_code(xend):
    cfg = write_cfg(xend, tiny_guest.build(tiny_guest.HELLO))
    running = asyncio.ensure_future(xm(xend, "run", cfg))
    await xend.until_there("guest")
    xend.print(1, b"hello\n")
    await xend.store.write("/local/domain/1/data/exit-code", 7)
    xend.xen.shutdown(1, abi.SHUTDOWN_poweroff)
    assert await running == (7, "hello\n", "")


@with_xend
async def test_run_prints_the_crash(xend):
    cfg = write_cfg(xend, tiny_guest.link(tiny_guest.CRASH_PARTS))
    running = asyncio.ensure_future(xm(xend, "run", cfg))
    await xend.until_there("guest")
    xend.xen.shutdown(1, abi.SHUTDOWN_crash)
    code, _, err = await running
    assert code == 6 and "_start+0x0" in err


@with_xend
async def test_create_with_console_shows_the_crash_and_ends_with_6(xend):
    cfg = write_cfg(xend, tiny_guest.link(tiny_guest.CRASH_PARTS))
    running = asyncio.ensure_future(xm(xend, "create", "-c", cfg))
    await xend.until_there("guest")
    xend.xen.shutdown(1, abi.SHUTDOWN_crash)
    code, _, err = await running
    assert code == 6 and "_start+0x0" in err


@with_xend
async def test_dmesg_can_be_followed(xend):
    command = [sys.executable, str(XM), "dmesg", "--follow"]
    environment = {"PROXEN_URL": xend.url}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=pipe)
    assert b"hello" in await process.stdout.readline()
    xend.xen.console += b"(XEN) later\n"
    assert await asyncio.wait_for(process.stdout.readline(), PATIENCE_S) == b"(XEN) later\n"
    process.terminate()
    await process.wait()


@with_xend
async def test_console_types_standard_input(xend):
    await xend.create()
    running = asyncio.ensure_future(xm(xend, "console", "guest", stdin=b"abc\x1d"))
    code, _, err = await running
    assert code == 0 and "Detached" in err


@with_xend
async def test_missing_local_file_is_one_sentence(xend):
    cfg = write_cfg(xend, tiny_guest.build(tiny_guest.HELLO), 'ramdisk = "nothing.img"')
    code, _, err = await xm(xend, "create", cfg)
    assert code == 2 and "there is no file" in err and err.count("\n") == 1
    code, _, err = await xm(xend, "create", cfg, "ramdisk=dom0:/no/ramdisk")
    assert code == 1 and "does not exist in dom0" in err
