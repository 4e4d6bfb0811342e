"""The transcript names every operation that the core implements, and every error that the
operations in its registries document.
"""

import ast
import inspect
import re

import abi
import pytest

import kernel.handlers  # noqa: F401  fills the registries
from kernel.base.registry import domctls, hypercalls, sysctls
from kernel.memory.operations import memory_ops
from tools.compare.boot import recorded
from tools.setup.paths import ROOT

KERNEL = ROOT / "kernel"
# Operations of a hypercall that takes their number.
FAMILIES = (
    "EVTCHNOP_",
    "GNTTABOP_",
    "MMUEXT_",
    "VCPUOP_",
    "SCHEDOP_",
    "PHYSDEVOP_",
    "XENPF_",
    "XENVER_",
    "VMASST_CMD_",
    "CONSOLEIO_",
    "CALLBACKOP_",
    "XENNMI_",
)
NUMBERED = {"mmuext_op": "MMUEXT_", "memory_op": "XENMEM_"}  # `mmuext_op …, command 0x8: …`
REGISTRIES = (
    (domctls, "domctl_", "XEN_DOMCTL_"),
    (sysctls, "sysctl_", "XEN_SYSCTL_"),
    (memory_ops, "memory_", "XENMEM_"),
)
# Hypercalls whose lines bear the names of their operations.
BY_OPERATION = {
    "platform_op": "XENPF_",
    "vm_assist": "VMASST_CMD_",
    "console_io": "CONSOLEIO_",
    "vcpu_op": "VCPUOP_",
    "nmi_op": "XENNMI_",
    "sched_op": "SCHEDOP_",
    "callback_op": "CALLBACKOP_",
}
ENDS_THE_MACHINE = {"SCHEDOP_shutdown_code"}
# Errors that a guest cannot provoke at will, or that only a domain without privileges gets.
INFEASIBLE = {"ENOMEM", "ERESTART", "EOVERFLOW", "EPERM", "E2BIG"}
NOT_PROVOKED = {
    "XEN_DOMCTL_gdbsx_guestmemio": {"EINVAL", "EOPNOTSUPP", "EFAULT"},
    "XEN_DOMCTL_gdbsx_pausevcpu": {"EBUSY", "EINVAL"},
    "XEN_DOMCTL_gdbsx_unpausevcpu": {"EBUSY", "EINVAL"},
    "XEN_DOMCTL_setvcpuaffinity": {"ESRCH"},
    "XEN_DOMCTL_getvcpuaffinity": {"ESRCH"},
    "XEN_DOMCTL_getvcpuinfo": {"ESRCH"},
    "XEN_SYSCTL_tbuf_op": {"EBUSY", "EINVAL", "EFAULT"},
    "XEN_DOMCTL_settscinfo": {"EOPNOTSUPP"},  # ours alone: see differences.txt
}


def handlers(registry: dict) -> dict:
    """Return the handlers behind a registry's entries, by name."""
    found = {inspect.unwrap(entry).__name__: inspect.unwrap(entry) for entry in registry.values()}
    assert "entry" not in found and all(map(inspect.getdoc, found.values()))
    return found


def lines() -> dict[str, set[str]]:
    """Return the answers given for each operation."""
    found: dict[str, set[str]] = {}
    for name, answer in recorded().items():
        operation = name.split()[0].rstrip(",")
        found.setdefault(operation, set()).add(answer)
        numbered = re.search(r"command (0x[0-9a-f]+)$", name)
        if numbered and operation in NUMBERED:
            for value in names_of(NUMBERED[operation], int(numbered[1], 16)):
                found.setdefault(value, set()).add(answer)
    return found


def names_of(prefix: str, number: int) -> list[str]:
    return [
        name for name, value in vars(abi).items() if name.startswith(prefix) and value == number
    ]


def distinguished(prefix: str) -> set[str]:
    """Return the ABI's names of a prefix that the core tells apart: by `case`, or by a decorator
    of the handler.
    """
    found = set()
    for path in KERNEL.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            places = [node.pattern] if isinstance(node, ast.match_case) else []
            places += node.decorator_list if isinstance(node, ast.FunctionDef) else []
            inside = [each for place in places for each in ast.walk(place)]
            found |= {each.attr for each in inside if isinstance(each, ast.Attribute)}
    return {name for name in found if name.startswith(prefix)}


@pytest.mark.parametrize("prefix", FAMILIES)
def test_every_operation_is_asked_for(prefix):
    wanted = distinguished(prefix)
    assert wanted, "the pattern finds nothing"
    assert not wanted - lines().keys() - ENDS_THE_MACHINE


@pytest.mark.parametrize(("registry", "shape", "prefix"), REGISTRIES)
def test_every_registered_operation_is_asked_for(registry, shape, prefix):
    wanted = {prefix + name.removeprefix(shape) for name in handlers(registry)}
    assert not wanted - lines().keys()


def test_every_hypercall_is_made():
    names = {name.removeprefix("do_") for name in handlers(hypercalls)}
    present = lines().keys()
    missing = {
        name
        for name in names
        if name not in present
        and not any(line.startswith(BY_OPERATION.get(name, "-")) for line in present)
    }
    # their lines begin with `trap`: an iret is seen in the frame that it makes
    assert missing <= {"iret"} and "trap" in present


@pytest.mark.parametrize(("registry", "shape", "prefix"), REGISTRIES)
def test_documented_errors_are_provoked(registry, shape, prefix):
    """What the docstring of an operation promises has been seen, on real Xen."""
    missing = {}
    for name, function in handlers(registry).items():
        operation = prefix + name.removeprefix(shape)
        _, _, documented = (inspect.getdoc(function) or "").partition("Errors:")
        wanted = set(re.findall(r"-(E[A-Z0-9]+)", documented)) - INFEASIBLE
        wanted -= NOT_PROVOKED.get(operation, set())
        seen = {answer.lstrip("-") for answer in lines().get(operation, set())}
        if wanted - seen:
            missing[operation] = wanted - seen
    assert not missing
