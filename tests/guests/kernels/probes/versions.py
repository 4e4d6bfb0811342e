"""What runs underneath: xen_version, and what a guest wants of it: vm_assist."""

import abi
from kpy import Array, i64, ref, static, u8, u32, u64

from libos.hypercall import hypercall
from tests.guests.kernels.probes.ground import CORE_ADDRESS, WILD_ADDRESS
from tests.guests.kernels.probes.transcript import fact, fact_each, tell, tell_each, truth

NO_COMMAND = 77
NR_FEATURE_MAPS = 3

answer = static(Array[u8, 4096])
features = static(abi.xen_feature_info)
where = static(abi.xen_platform_parameters)
build = static(abi.xen_build_id)


def version(command: u64, argument: u64) -> i64:
    return hypercall(abi.__HYPERVISOR_xen_version, command, argument, 0, 0, 0)


def ask_versions() -> None:
    here = u64(ref(answer))
    result = version(abi.XENVER_version, 0)
    truth(b"XENVER_version is 4.17", result == 4 << 16 | 17)
    tell(b"XENVER_version without regard to its argument", version(abi.XENVER_version, 8) - result)
    tell(b"XENVER_extraversion", version(abi.XENVER_extraversion, here))
    tell(b"XENVER_extraversion unmapped", version(abi.XENVER_extraversion, WILD_ADDRESS))
    tell(b"XENVER_extraversion null", version(abi.XENVER_extraversion, 0))
    tell(b"XENVER_compile_info", version(abi.XENVER_compile_info, here))
    tell(b"XENVER_compile_info unmapped", version(abi.XENVER_compile_info, WILD_ADDRESS))
    ask_capabilities(here)
    tell(b"XENVER_changeset", version(abi.XENVER_changeset, here))
    tell(b"XENVER_changeset unmapped", version(abi.XENVER_changeset, WILD_ADDRESS))
    tell(b"XENVER_pagesize", version(abi.XENVER_pagesize, 0))
    tell(b"XENVER_pagesize with an argument", version(abi.XENVER_pagesize, here))
    tell(b"XENVER_guest_handle", version(abi.XENVER_guest_handle, here))
    fact(b"XENVER_guest_handle of dom0 begins", u64(answer[0]))
    tell(b"XENVER_guest_handle unmapped", version(abi.XENVER_guest_handle, WILD_ADDRESS))
    tell(b"XENVER_commandline", version(abi.XENVER_commandline, here))
    tell(b"XENVER_commandline in the core", version(abi.XENVER_commandline, CORE_ADDRESS))
    ask_build_id()
    tell(b"XENVER no such command", version(NO_COMMAND, here))
    tell(b"XENVER upper half of the command", version(1 << 32 | abi.XENVER_pagesize, 0))
    ask_features()


def ask_capabilities(here: u64) -> None:
    """The space at the end is part of Xen's answer; what follows is about HVM guests."""
    tell(b"XENVER_capabilities", version(abi.XENVER_capabilities, here))
    for i in range(15):
        fact_each(b"XENVER_capabilities byte", u64(i), u64(answer[i]))
    tell(b"XENVER_capabilities unmapped", version(abi.XENVER_capabilities, WILD_ADDRESS))
    result = version(abi.XENVER_platform_parameters, u64(ref(where)))
    tell(b"XENVER_platform_parameters", result)
    fact(b"XENVER_platform_parameters virt_start", where.virt_start)
    tell(
        b"XENVER_platform_parameters unmapped",
        version(abi.XENVER_platform_parameters, WILD_ADDRESS),
    )


def ask_build_id() -> None:
    build.len = 0
    result = version(abi.XENVER_build_id, 0)
    truth(b"XENVER_build_id null asks for the length", result >= 0)
    tell(b"XENVER_build_id no room", version(abi.XENVER_build_id, u64(ref(build))))
    tell(b"XENVER_build_id unmapped", version(abi.XENVER_build_id, WILD_ADDRESS))


def ask_features() -> None:
    for i in range(NR_FEATURE_MAPS):
        features.submap_idx = u32(i)
        features.submap = 0
        result = version(abi.XENVER_get_features, u64(ref(features)))
        tell_each(b"XENVER_get_features map", u64(i), result)
        fact_each(b"XENVER_get_features bits of map", u64(i), u64(features.submap))
    tell(b"XENVER_get_features unmapped", version(abi.XENVER_get_features, WILD_ADDRESS))


def assist(command: u64, kind: u64) -> i64:
    return hypercall(abi.__HYPERVISOR_vm_assist, command, kind, 0, 0, 0)


def ask_assists() -> None:
    for kind in range(40):
        result = assist(abi.VMASST_CMD_enable, u64(kind))
        tell_each(b"VMASST_CMD_enable type", u64(kind), result)
        result = assist(abi.VMASST_CMD_disable, u64(kind))
        tell_each(b"VMASST_CMD_disable type", u64(kind), result)
    tell(b"VMASST no such command", assist(NO_COMMAND, abi.VMASST_TYPE_writable_pagetables))
    tell(b"VMASST no such command or type", assist(NO_COMMAND, NO_COMMAND))
    tell(b"VMASST type above 32 bits", assist(abi.VMASST_CMD_enable, 1 << 40))
    assist(abi.VMASST_CMD_enable, abi.VMASST_TYPE_pae_extended_cr3)
    features.submap_idx = 0
    version(abi.XENVER_get_features, u64(ref(features)))
    fact(b"XENVER_get_features with pae_extended_cr3", u64(features.submap))
    assist(abi.VMASST_CMD_disable, abi.VMASST_TYPE_pae_extended_cr3)
