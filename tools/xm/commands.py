"""One function per command. Each takes the client and the parsed arguments, and returns the exit
code.
"""

import os
import sys
import time

from xm import cfg, debugger, output, terminal
from xm import trace as tracing
from xm.cfg import ConfigError
from xm.client import domain_path, in_dom0
from xm.description import Placer, describe

DONE, FAILED, USAGE, CRASHED = 0, 1, 2, 6
POLL_S = 0.2


def say(text):
    """Print a remark, apart from the output."""
    print(text, file=sys.stderr)


def read_config(client, arguments):
    """Return xend's JSON for the file and overrides on the command line. Errors: ConfigError."""
    overrides = list(arguments.override)
    values, base = {}, os.getcwd()
    if arguments.file and not os.path.exists(arguments.file) and "=" in arguments.file:
        overrides.insert(0, arguments.file)
    elif arguments.file:
        values = cfg.parse(_read(arguments.file), arguments.file)
        base = os.path.dirname(os.path.abspath(arguments.file))
    values.update(cfg.parse_override(text) for text in overrides)
    if "name" not in values and "kernel" in values:
        raise ConfigError("the domain has no name; add name = '…'.")
    return describe(values, Placer(client, base, in_dom0(), say))


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(f"cannot read the domain file '{path}': {reason}.") from None


def create(client, arguments):
    """Create a domain; -c attaches its console, -p leaves it paused, -g debugs it, -w waits until
    its devices are connected.
    """
    config = read_config(client, arguments)
    config["paused"] = arguments.paused or arguments.gdb
    domain = client.post("/domains", config)
    if arguments.wait:
        domain = client.get(domain_path(domain["name"], "/connected"))
    if arguments.json:
        print(output.as_json(domain))
    else:
        say(f"Domain {domain['name']} has id {domain['id']}.")
    if arguments.wait and domain["exit"] is not None:
        _report_end(domain["exit"])
        return FAILED
    if arguments.gdb:
        return debugger.debug(client, domain["name"])
    if arguments.console:
        ended = terminal.attach(client, domain["name"])
        _report_end(ended)
        if _report_crash(client, domain["name"], ended):
            return CRASHED
    return DONE


def _report_end(ended):
    say(f"\r\nThe domain ended: {output.exit_line(ended)}." if ended else "\r\nDetached.")


def run(client, arguments):
    """Create a domain, show its console until it ends, and exit with its exit code."""
    config = read_config(client, arguments)
    domain = client.post("/domains", config)
    ended = terminal.attach(client, domain["name"], typing=sys.stdin.isatty())
    if ended is None:
        say(f"Detached; {domain['name']} goes on running.")
        return FAILED
    _report_crash(client, domain["name"], ended)
    return ended["code"]


def _report_crash(client, name, ended):
    """Print the report of a domain that crashed. Returns: whether it did."""
    if ended is None or ended["reason"] != "crash":
        return False
    record = client.get(domain_path(name))
    if record["crash"]:
        say(f"The domain crashed.\n{output.crash(record['crash'])}")
    return True


def list_domains(client, arguments):
    """List domains, or the ones named."""
    if arguments.domain:
        domains = [client.get(domain_path(name)) for name in arguments.domain]
    else:
        domains = client.get("/domains?ended=1" if arguments.all else "/domains")["domains"]
    print(output.as_json(domains) if arguments.json else output.domain_table(domains, arguments.xl))
    return DONE


def show(client, arguments):
    """Show one domain, with the crash report if it crashed."""
    domain = client.get(domain_path(arguments.domain))
    print(output.as_json(domain) if arguments.json else output.domain(domain))
    return DONE


def info(client, arguments):
    """Show the machine."""
    host = client.get("/host")
    if arguments.numa:
        host["topology"] = client.get("/host/topology")
    print(output.as_json(host) if arguments.json else output.host(host))
    return DONE


def dmesg(client, arguments):
    """Print the hypervisor's messages, crash reports among them."""
    if arguments.follow:
        for text in client.stream("/host/dmesg?follow=1"):
            print(text, end="", flush=True)
        return DONE
    text = client.text("/host/dmesg", "DELETE" if arguments.clear else "GET")
    print(output.as_json({"dmesg": text}) if arguments.json else text, end="")
    return DONE


def debug_keys(client, arguments):
    """Press debug keys of the hypervisor, and print what it says; 'xm debug-keys h' lists them."""
    request = {"keys": arguments.keys}
    text = client.post_for_text("/host/debug-keys", request)
    print(output.as_json({"dmesg": text}) if arguments.json else text, end="")
    return DONE


def log(client, arguments):
    """Print what a domain has printed so far."""
    text = client.text(domain_path(arguments.domain, "/console"))
    print(output.as_json({"console": text}) if arguments.json else text, end="")
    return DONE


def console(client, arguments):
    """Attach to a domain's console; Ctrl-] leaves."""
    if sys.stdin.isatty():
        say("Connected; Ctrl-] leaves.")
    _report_end(terminal.attach(client, arguments.domain))
    return DONE


def gdb(client, arguments):
    """Debug a domain with gdb; it stops now, and goes on when gdb ends."""
    return debugger.debug(client, arguments.domain, arguments.symbols, arguments.gdb_argument)


def _act(client, arguments, verb):
    domain = client.post(domain_path(arguments.domain, f"/actions/{verb}"))
    if arguments.json:
        print(output.as_json(domain))
    return domain


def pause(client, arguments):
    """Stop a domain's vCPUs; its memory stays."""
    _act(client, arguments, "pause")
    return DONE


def unpause(client, arguments):
    """Let a paused domain run."""
    _act(client, arguments, "unpause")
    return DONE


def destroy(client, arguments):
    """Kill a domain at once, as pulling the plug would."""
    _act(client, arguments, "destroy")
    return DONE


def trace(client, arguments):
    """Record what the hypervisor does, as a picture, as text, or summed up."""
    return tracing.run(client, arguments, say)


def shutdown(client, arguments):
    """Ask a domain to shut down; with -w wait until it has."""
    _act(client, arguments, "shutdown")
    while arguments.wait and client.get(domain_path(arguments.domain))["exit"] is None:
        time.sleep(POLL_S)
    return DONE


def reboot(client, arguments):
    """Ask a domain to reboot."""
    _act(client, arguments, "reboot")
    return DONE
