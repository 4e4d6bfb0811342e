"""What a client may ask for when it creates a domain.

`parse` turns JSON into a DomainConfig or refuses with one sentence. Files are named as `sha256:…`
(uploaded) or by their path in dom0; whether they exist is for `files` to say.
"""

import difflib
import os
import re
import uuid
from dataclasses import asdict, dataclass, field, replace

from xend.errors import bad_request

NAME = re.compile(r"[A-Za-z0-9_.+-]{1,64}")
VDEV = re.compile(r"(xvd[a-z]|sd[a-z]|hd[a-h])([1-9][0-9]?)?")
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)
ACTIONS = ("destroy", "restart", "preserve")
KEYS = re.compile(r"[!-~]{1,16}")
MEMORY_MIB_MAX = 1 << 20
VCPUS_MAX = 32
CMDLINE_MAX = 1023


@dataclass(frozen=True)
class Disk:
    """A virtual disk: `target` is a file or block device, `vdev` its name in the guest."""

    target: str
    vdev: str
    access: str = "rw"


@dataclass(frozen=True)
class Vif:
    """A virtual network interface on a bridge of dom0."""

    mac: str = ""
    bridge: str = "xenbr0"


@dataclass
class DomainConfig:
    """A domain as the client described it."""

    name: str
    kernel: str
    uuid: str = ""
    ramdisk: str = ""
    cmdline: str = ""
    memory: int = 128
    vcpus: int = 1
    disks: list = field(default_factory=list)
    vifs: list = field(default_factory=list)
    on_poweroff: str = "destroy"
    on_reboot: str = "restart"
    on_crash: str = "destroy"
    paused: bool = False

    def to_json(self):
        """Return the form that `parse` takes."""
        return asdict(self)


def parse(body):
    """Return the DomainConfig in a request's JSON.

    Errors: Refusal 400, naming the key and what it should be.
    """
    if not isinstance(body, dict):
        raise bad_request("bad_config", "The domain's configuration must be a JSON object.")
    values = _typed(body, _KEYS, "The configuration")
    for key in ("name", "kernel"):
        if not values.get(key):
            raise bad_request("missing_key", f"The configuration lacks '{key}'; add it.")
    config = DomainConfig(**values)
    config.uuid = config.uuid or str(uuid.uuid4())
    _check_values(config)
    config.disks = [_disk(item) for item in config.disks]
    config.vifs = [_vif(item) for item in config.vifs]
    vdevs = [disk.vdev for disk in config.disks]
    for vdev in vdevs:
        if vdevs.count(vdev) > 1:
            raise bad_request("bad_disk", f"Two disks are called '{vdev}'; rename one.")
    return config


def debug_keys(body):
    """Return the debug keys in a request's JSON. Errors: Refusal 400."""
    if not isinstance(body, dict):
        raise bad_request("bad_value", "The request must be a JSON object with 'keys'.")
    keys = _typed(body, {"keys": str}, "The request").get("keys", "")
    if not KEYS.fullmatch(keys):
        raise bad_request("bad_value", f"'{keys}' are no debug keys; 'h' lists those that exist.")
    return keys


_KEYS = {name: type_ for name, type_ in DomainConfig.__annotations__.items()}
_TYPE_NAMES = {str: "a string", int: "a whole number", bool: "true or false", list: "a list"}


def suggestion(word, known):
    """Return " Did you mean 'x'?" if a known word is close, else nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def _typed(body, types, what):
    """Return the object's values. Errors: Refusal, an unknown key or a value of the wrong type."""
    for key, value in body.items():
        if key not in types:
            known = ", ".join(sorted(types))
            hint = suggestion(key, types) or f" Known keys: {known}."
            raise bad_request("unknown_key", f"{what} has an unknown key '{key}'.{hint}")
        if type(value) is not types[key]:
            wanted = _TYPE_NAMES[types[key]]
            raise bad_request("bad_value", f"'{key}' must be {wanted}, but it is {value!r}.")
    return dict(body)


def _check_values(config):
    if not NAME.fullmatch(config.name):
        message = f"'{config.name}' cannot be a name; use up to 64 letters, digits and any of _.+-"
        raise bad_request("bad_name", message + ".")
    try:
        config.uuid = str(uuid.UUID(config.uuid))
    except ValueError:
        raise bad_request("bad_value", f"'{config.uuid}' is no uuid; leave it out.") from None
    _check_range("memory", config.memory, MEMORY_MIB_MAX, " MiB")
    _check_range("vcpus", config.vcpus, VCPUS_MAX, "")
    if len(config.cmdline.encode()) > CMDLINE_MAX:
        raise bad_request("bad_value", f"The cmdline exceeds {CMDLINE_MAX} bytes; shorten it.")
    for key in ("on_poweroff", "on_reboot", "on_crash"):
        _check_choice(key, getattr(config, key), ACTIONS)


def _check_range(key, value, most, unit):
    if not 1 <= value <= most:
        raise bad_request("bad_value", f"'{key}' must be 1 to {most}{unit}, but it is {value}.")


def _check_choice(key, value, choices):
    if value not in choices:
        hint = suggestion(value, choices)
        wanted = ", ".join(choices)
        raise bad_request("bad_value", f"'{key}' must be one of {wanted}, not '{value}'.{hint}")


def _disk(item):
    if not isinstance(item, dict):
        raise bad_request("bad_disk", f"Each disk must be an object, but one is {item!r}.")
    disk = _typed(item, Disk.__annotations__, "A disk")
    if not disk.get("target") or not VDEV.fullmatch(disk.get("vdev", "")):
        message = "Each disk needs 'target', a file or device, and 'vdev', such as xvda."
        raise bad_request("bad_disk", message)
    _check_choice("access", disk.get("access", "rw"), ("rw", "ro"))
    return Disk(**disk)


def _vif(item):
    if not isinstance(item, dict):
        raise bad_request("bad_vif", f"Each vif must be an object, but one is {item!r}.")
    vif = Vif(**_typed(item, Vif.__annotations__, "A vif"))
    if vif.mac and not MAC.fullmatch(vif.mac):
        message = f"'{vif.mac}' is no MAC address; write six bytes as 00:16:3e:01:02:03."
        raise bad_request("bad_vif", message)
    return vif if vif.mac else replace(vif, mac=_random_mac())


def _random_mac():
    """Return an address from the range that is Xen's, 00:16:3e."""
    return "00:16:3e:" + ":".join(f"{byte:02x}" for byte in os.urandom(3))
