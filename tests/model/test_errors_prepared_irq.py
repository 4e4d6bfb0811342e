"""Refusals about interrupts that the tables by hypercall don't reach with one call.

Something must have been done before, or the refusing part is far down.
"""

import abi
import pytest

from tests.model.codes import EFAULT, EINVAL, ENODEV, EPERM
from tests.model.errors import UNMAPPED, Wrong, check
from tests.model.prepared import PHYSDEV_OP, dom0
from tests.model.test_errors_physdev import map_pirq
from tests.model.test_errors_physdev import op as physdev


def all_reserved(machine):
    """Let dom0 have set a pirq aside."""
    at = machine.dom0.put(abi.physdev_get_free_pirq, type=abi.MAP_PIRQ_TYPE_MSI)
    assert machine.dom0.call(PHYSDEV_OP, abi.PHYSDEVOP_get_free_pirq, at) == 0
    machine.reserved = machine.dom0.get(abi.physdev_get_free_pirq, at).pirq


def with_device(machine):
    """Let a device answer at every address, one without capabilities."""
    machine["tests.model.processors.bus_answer"].value = 0x8086


INTERRUPTS = [
    Wrong(
        "eoi: of dom0's",
        physdev(abi.PHYSDEVOP_eoi, abi.physdev_eoi, irq=lambda m: m.reserved),
        EINVAL,
        first=all_reserved,
    ),
    dom0("eoi: not mapped", physdev(abi.PHYSDEVOP_eoi, abi.physdev_eoi, irq=200), EINVAL),
    dom0("map_pirq: no such wire, by dom0's number", map_pirq(0, index=5000), EINVAL),
    *(
        Wrong(
            f"{type_.name} {command}: another segment, {who}",
            physdev(command, type_, seg=1),
            error,
            who,
            with_device,
        )
        for command, type_ in (
            (abi.PHYSDEVOP_pci_device_add, abi.physdev_pci_device_add),
            (abi.PHYSDEVOP_pci_device_remove, abi.physdev_pci_device),
        )
        for who, error in (("dom0", ENODEV), ("guest", EPERM))
    ),
    dom0(
        "prepare_msix: a device that has none",
        physdev(abi.PHYSDEVOP_prepare_msix, abi.physdev_pci_device),
        ENODEV,
        with_device,
    ),
    dom0(
        "map_pirq: a device without messages",
        map_pirq(type_=abi.MAP_PIRQ_TYPE_MSI, index=-1),
        ENODEV,
        with_device,
    ),
    dom0(
        "device_remove: nothing there",
        physdev(abi.PHYSDEVOP_pci_device_remove, abi.physdev_pci_device),
        ENODEV,
    ),
]


def free_pirqs(machine):
    return [pirq.kind for pirq in machine["kernel.irq.irq.pirqs"]]


@pytest.mark.parametrize("row", INTERRUPTS, ids=str)
def test_refused(machine, row):
    check(machine, row)


def test_a_request_that_cannot_be_read_is_not_the_one_before(machine):
    """A pirq is set aside; then the same by an address where nothing is."""
    call = (PHYSDEV_OP, abi.PHYSDEVOP_get_free_pirq)
    at = machine.dom0.put(abi.physdev_get_free_pirq, type=abi.MAP_PIRQ_TYPE_MSI)
    assert machine.dom0.call(*call, at) == 0
    before = free_pirqs(machine)
    assert machine.dom0.call(*call, UNMAPPED) == EFAULT
    assert free_pirqs(machine) == before
