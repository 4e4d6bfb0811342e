"""Turn a domain file's keys into what xend wants, and see to it that xend has the files.

On the developer's machine the kernel, the ramdisk and disk images are local files: they are
uploaded, unless xend has their content already. A path that starts with `dom0:` is one in dom0, and
so is every path when xm runs there.
"""

import difflib
import os
import re

from xm.cfg import ConfigError

PLAIN = ("name", "uuid", "memory", "vcpus", "on_poweroff", "on_reboot", "on_crash")
KNOWN = (*PLAIN, "kernel", "ramdisk", "cmdline", "root", "extra", "disk", "vif", "type", "maxvcpus")
XL_ONLY = [
    "acpi",
    "apic",
    "bios",
    "blkdev_start",
    "boot",
    "builder",
    "cap",
    "cpu_weight",
    "cpuid",
    "cpus",
    "device_model_version",
    "device_model_override",
    "driver_domain",
    "hap",
    "max_grant_frames",
    "maxmem",
    "nics",
    "nomigrate",
    "nographic",
    "numa",
    "on_watchdog",
    "p9",
    "pae",
    "pci",
    "pvh",
    "sdl",
    "serial",
    "shadow_memory",
    "spice",
    "timer_mode",
    "tsc_mode",
    "usb",
    "vfb",
    "vnc",
    "vtpm",
    "xen_platform_pci",
]
VDEV = re.compile(r"(xvd|sd|hd)[a-z][0-9]*")
ACCESS = {"r": "ro", "ro": "ro", "w": "rw", "rw": "rw"}
DISK_PREFIX = re.compile(r"(file|phy|raw|tap:aio|tap2?):(?=.)")
IN_DOM0 = "dom0:"


def describe(values, place_file):
    """Return xend's JSON for a domain.

    Args:   values: {key: value} of the domain file; place_file: makes a path known to xend and
            returns what xend calls it.
    Errors: ConfigError.
    """
    for key in values:
        check_key(key)
    if values.get("type", "pv") not in ("pv", "linux"):
        raise ConfigError(
            f"type is '{values['type']}', but only paravirtual domains run; say 'pv'."
        )
    config = {key: values[key] for key in PLAIN if key in values}
    if "maxvcpus" in values:
        config.setdefault("vcpus", values["maxvcpus"])
    if cmdline := command_line(values):
        config["cmdline"] = cmdline
    for key in ("kernel", "ramdisk"):
        if key in values:
            config[key] = place_file(_text(key, values[key]))
    config["disks"] = [parse_disk(item, place_file) for item in _list("disk", values)]
    config["vifs"] = [parse_vif(item) for item in _list("vif", values)]
    return config


def check_key(key):
    """Refuse a key that is unknown, or known to xl only."""
    if key in XL_ONLY:
        raise ConfigError(f"xl knows '{key}', but xend does not support it; remove it.")
    if key not in KNOWN:
        close = difflib.get_close_matches(key, KNOWN, n=1, cutoff=0.6)
        hint = f"did you mean '{close[0]}'?" if close else "see 'xm create --help'."
        raise ConfigError(f"there is no key '{key}'; {hint}")


def command_line(values):
    """Join cmdline, or root and extra, as xl does."""
    if "cmdline" in values:
        return _text("cmdline", values["cmdline"])
    parts = [f"root={values['root']}"] if "root" in values else []
    return " ".join(parts + [str(values[key]) for key in ("extra",) if key in values])


def _text(key, value):
    if not isinstance(value, str):
        raise ConfigError(f"'{key}' must be a string in quotes, but it is {value!r}.")
    return value


def _list(key, values):
    items = values.get(key, [])
    if not isinstance(items, list):
        raise ConfigError(f"'{key}' must be a list of strings, such as {key} = ['…'].")
    return [_text(key, item) for item in items]


def parse_disk(text, place_file):
    """Read one entry of `disk`: "target,format,vdev,access", or key=value pairs, or
    "file:target,vdev,access".
    """
    names, given = ["target", "format", "vdev", "access"], {}
    for part in (part.strip() for part in text.split(",")):
        key, equals, value = part.partition("=")
        if equals and key in names:
            given[key] = value
            continue
        free = [name for name in names if name not in given]
        if "target" in given and VDEV.fullmatch(part):
            given["vdev"] = part
            given.setdefault("format", "raw")
        elif free:
            given[free[0]] = part
    target, vdev = given.get("target", ""), given.get("vdev", "")
    access = ACCESS.get(given.get("access") or "rw")
    if not target or not VDEV.fullmatch(vdev) or not access:
        raise ConfigError(f"disk '{text}' is not understood; write 'file,raw,xvda,rw'.")
    if (given.get("format") or "raw") != "raw":
        raise ConfigError(f"disk '{text}': only the format raw is supported.")
    return {"target": place_file(DISK_PREFIX.sub("", target)), "vdev": vdev, "access": access}


def parse_vif(text):
    """Read one entry of `vif`: "mac=…,bridge=…", both optional."""
    vif = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = part.partition("=")
        if key not in ("mac", "bridge"):
            raise ConfigError(f"vif '{text}': only mac= and bridge= are supported, not '{key}'.")
        vif[key] = value
    return vif


class Placer:
    """Makes local files known to xend. `base` is the folder of the domain file."""

    def __init__(self, client, base, in_dom0, say):
        self.client, self.base, self.in_dom0, self.say = client, base, in_dom0, say

    def __call__(self, path):
        if path.startswith(IN_DOM0):
            return path[len(IN_DOM0) :]
        local = os.path.join(self.base, os.path.expanduser(path))
        if self.in_dom0:
            return os.path.abspath(local)
        if not os.path.exists(local):
            raise ConfigError(
                f"there is no file '{local}' on this machine; "
                f"correct the path, or write 'dom0:{path}' for a file in dom0."
            )
        if not os.path.isfile(local):
            raise ConfigError(f"'{local}' is not a file, so it cannot be uploaded.")
        return self.client.upload(local, self.say)
