"""What dom0 asks about the machine: physdev_op, platform_op, console_io."""

import abi
from kpy import Array, Guest, Slice, i32, i64, ref, static, u8, u32, u64

from libos.event import shared_info
from libos.hypercall import event_channel_op, hypercall
from libos.pages import alloc_pages
from tests.guests.kernels.probes import ground
from tests.guests.kernels.probes.ground import (
    CORE_ADDRESS,
    NO_COMMAND,
    NO_DOMAIN,
    NO_FRAME,
    WILD_ADDRESS,
    frame_of,
)
from tests.guests.kernels.probes.transcript import fact, tell, tell_each, truth

NR_PHYSDEV_COMMANDS = 34
GSI_COM1 = 4
GSI_FREE = 11
GSI_OTHER = 10
NO_GSI = 500
NO_PIRQ = 100_000
BUS_MISSING = 0xFE

iopl = static(abi.physdev_set_iopl)
bitmap = static(abi.physdev_set_iobitmap)
eoi = static(abi.physdev_eoi)
query = static(abi.physdev_irq_status_query)
mapping = static(abi.physdev_map_pirq)
unmapping = static(abi.physdev_unmap_pirq)
setup = static(abi.physdev_setup_gsi)
free = static(abi.physdev_get_free_pirq)
apic = static(abi.physdev_apic)
vector = static(abi.physdev_irq)
device = static(abi.physdev_pci_device)
added = static(abi.physdev_pci_device_add)
managed = static(abi.physdev_manage_pci)
managed_ext = static(abi.physdev_manage_pci_ext)
page_of_bits = static(abi.physdev_pirq_eoi_gmfn)
port_bits = static(Array[u8, 8192])
platform_request = static(abi.xen_platform_op)
machine_checks = static(abi.xen_mc)
capabilities = static(Array[u32, 3])
text = static(Array[u8, 64])


def physdev(command: u64, argument: u64) -> i64:
    return hypercall(abi.__HYPERVISOR_physdev_op, command, argument, 0, 0, 0)


def ask_devices() -> None:
    for command in range(NR_PHYSDEV_COMMANDS):
        result = physdev(u64(command), WILD_ADDRESS)
        tell_each(b"physdev_op unmapped, command", u64(command), result)
    tell(b"physdev_op no such command", physdev(NO_COMMAND, u64(ref(iopl))))
    for level in range(5):
        iopl.iopl = u32(level)
        tell_each(
            b"PHYSDEVOP_set_iopl", u64(level), physdev(abi.PHYSDEVOP_set_iopl, u64(ref(iopl)))
        )
    iopl.iopl = 0
    physdev(abi.PHYSDEVOP_set_iopl, u64(ref(iopl)))
    ask_port_bitmap()
    ask_interrupts()
    ask_pirq_maps()
    ask_apics()
    ask_pci()
    ask_platform()
    ask_about_power()
    ask_about_machine_checks()
    ask_console()


def ask_port_bitmap() -> None:
    here = u64(ref(bitmap))
    bitmap.bitmap = Guest[u8](u64(ref(port_bits)))
    bitmap.nr_ports = 65536
    tell(b"PHYSDEVOP_set_iobitmap", physdev(abi.PHYSDEVOP_set_iobitmap, here))
    bitmap.nr_ports = 65537
    tell(b"PHYSDEVOP_set_iobitmap too many ports", physdev(abi.PHYSDEVOP_set_iobitmap, here))
    bitmap.nr_ports = 8
    bitmap.bitmap = Guest[u8](WILD_ADDRESS)
    tell(b"PHYSDEVOP_set_iobitmap unmapped bits", physdev(abi.PHYSDEVOP_set_iobitmap, here))
    bitmap.bitmap = Guest[u8](CORE_ADDRESS)
    tell(b"PHYSDEVOP_set_iobitmap bits in the core", physdev(abi.PHYSDEVOP_set_iobitmap, here))
    bitmap.bitmap = Guest[u8](0)
    bitmap.nr_ports = 0
    tell(b"PHYSDEVOP_set_iobitmap none", physdev(abi.PHYSDEVOP_set_iobitmap, here))


def ask_interrupts() -> None:
    eoi.irq = NO_PIRQ
    tell(b"PHYSDEVOP_eoi no such pirq", physdev(abi.PHYSDEVOP_eoi, u64(ref(eoi))))
    eoi.irq = GSI_FREE
    tell(b"PHYSDEVOP_eoi unbound pirq", physdev(abi.PHYSDEVOP_eoi, u64(ref(eoi))))
    query.irq = NO_PIRQ
    tell(
        b"PHYSDEVOP_irq_status_query no such pirq",
        physdev(abi.PHYSDEVOP_irq_status_query, u64(ref(query))),
    )
    query.irq = GSI_FREE
    query.flags = 0
    tell(
        b"PHYSDEVOP_irq_status_query unbound pirq",
        physdev(abi.PHYSDEVOP_irq_status_query, u64(ref(query))),
    )
    fact(b"PHYSDEVOP_irq_status_query flags", u64(query.flags))
    ask_gsi(GSI_FREE)
    ask_gsi(NO_GSI)
    setup.gsi = -1
    tell(b"PHYSDEVOP_setup_gsi negative", physdev(abi.PHYSDEVOP_setup_gsi, u64(ref(setup))))
    free.type = abi.MAP_PIRQ_TYPE_GSI
    tell(b"PHYSDEVOP_get_free_pirq gsi", physdev(abi.PHYSDEVOP_get_free_pirq, u64(ref(free))))
    unmap(b"PHYSDEVOP_unmap_pirq a reserved one", i32(free.pirq))
    free.type = abi.MAP_PIRQ_TYPE_MSI
    tell(b"PHYSDEVOP_get_free_pirq msi", physdev(abi.PHYSDEVOP_get_free_pirq, u64(ref(free))))
    truth(b"PHYSDEVOP_get_free_pirq msi lies above the wires", free.pirq >= 16)
    unmap(b"PHYSDEVOP_unmap_pirq a reserved message", i32(free.pirq))
    free.type = 9
    tell(
        b"PHYSDEVOP_get_free_pirq unknown type",
        physdev(abi.PHYSDEVOP_get_free_pirq, u64(ref(free))),
    )
    page_of_bits.gmfn = NO_FRAME
    tell(
        b"PHYSDEVOP_pirq_eoi_gmfn_v2 missing frame",
        physdev(abi.PHYSDEVOP_pirq_eoi_gmfn_v2, u64(ref(page_of_bits))),
    )
    page_of_bits.gmfn = frame_of(ground.table_page)
    tell(
        b"PHYSDEVOP_pirq_eoi_gmfn_v2",
        physdev(abi.PHYSDEVOP_pirq_eoi_gmfn_v2, u64(ref(page_of_bits))),
    )
    page_of_bits.gmfn = frame_of(alloc_pages(1))
    tell(
        b"PHYSDEVOP_pirq_eoi_gmfn_v2 again",
        physdev(abi.PHYSDEVOP_pirq_eoi_gmfn_v2, u64(ref(page_of_bits))),
    )


def ask_gsi(number: i32) -> None:
    setup.gsi = number
    setup.triggering = 1
    setup.polarity = 1
    result = physdev(abi.PHYSDEVOP_setup_gsi, u64(ref(setup)))
    tell_each(b"PHYSDEVOP_setup_gsi", u64(number), result)
    result = physdev(abi.PHYSDEVOP_setup_gsi, u64(ref(setup)))
    tell_each(b"PHYSDEVOP_setup_gsi again", u64(number), result)


def map_pirq(kind: i32, index: i32, pirq: i32) -> i64:
    mapping.domid = abi.DOMID_SELF
    mapping.type = kind
    mapping.index = index
    mapping.pirq = pirq
    return physdev(abi.PHYSDEVOP_map_pirq, u64(ref(mapping)))


def unmap(name: Slice[u8], pirq: i32) -> None:
    unmapping.domid = abi.DOMID_SELF
    unmapping.pirq = pirq
    tell(name, physdev(abi.PHYSDEVOP_unmap_pirq, u64(ref(unmapping))))


def ask_pirq_maps() -> None:
    gsi, msi = i32(abi.MAP_PIRQ_TYPE_GSI), i32(abi.MAP_PIRQ_TYPE_MSI)
    tell(b"PHYSDEVOP_map_pirq any for a gsi", map_pirq(gsi, GSI_FREE, -1))
    fact(b"PHYSDEVOP_map_pirq any for a gsi, pirq", u64(mapping.pirq))
    taken = mapping.pirq
    tell(b"PHYSDEVOP_map_pirq again", map_pirq(gsi, GSI_FREE, GSI_FREE))
    tell(b"PHYSDEVOP_map_pirq another for the same gsi", map_pirq(gsi, GSI_FREE, 30))
    tell(b"PHYSDEVOP_map_pirq negative gsi", map_pirq(gsi, -1, -1))
    tell(b"PHYSDEVOP_map_pirq missing gsi", map_pirq(gsi, NO_GSI, -1))
    tell(b"PHYSDEVOP_map_pirq missing pirq", map_pirq(gsi, GSI_FREE, NO_PIRQ))
    tell(b"PHYSDEVOP_map_pirq a taken pirq", map_pirq(gsi, GSI_FREE + 1, taken))
    tell(b"PHYSDEVOP_map_pirq the console's", map_pirq(gsi, GSI_COM1, -1))
    tell(b"PHYSDEVOP_map_pirq unknown type", map_pirq(9, 0, -1))
    mapping.bus = BUS_MISSING
    mapping.devfn = 0
    mapping.entry_nr = 0
    mapping.table_base = 0
    tell(b"PHYSDEVOP_map_pirq message of a missing device", map_pirq(msi, -1, -1))
    tell(b"PHYSDEVOP_map_pirq message with an index", map_pirq(msi, 5, -1))
    mapping.entry_nr = 99
    tell(b"PHYSDEVOP_map_pirq 99 messages", map_pirq(i32(abi.MAP_PIRQ_TYPE_MULTI_MSI), -1, -1))
    mapping.domid = NO_DOMAIN
    tell(
        b"PHYSDEVOP_map_pirq missing domain",
        physdev(abi.PHYSDEVOP_map_pirq, u64(ref(mapping))),
    )
    unmap(b"PHYSDEVOP_unmap_pirq", taken)
    unmap(b"PHYSDEVOP_unmap_pirq again", taken)
    tell(b"PHYSDEVOP_map_pirq as itself", map_pirq(gsi, GSI_OTHER, GSI_OTHER))
    tell(b"PHYSDEVOP_map_pirq as itself again", map_pirq(gsi, GSI_OTHER, GSI_OTHER))
    bound = abi.evtchn_bind_pirq(pirq=GSI_OTHER)
    tell(b"EVTCHNOP_bind_pirq mapped", event_channel_op(abi.EVTCHNOP_bind_pirq, ref(bound)))
    tell(b"EVTCHNOP_bind_pirq bound", event_channel_op(abi.EVTCHNOP_bind_pirq, ref(bound)))
    eoi.irq = GSI_OTHER
    tell(b"PHYSDEVOP_eoi bound pirq", physdev(abi.PHYSDEVOP_eoi, u64(ref(eoi))))
    query.irq = GSI_OTHER
    physdev(abi.PHYSDEVOP_irq_status_query, u64(ref(query)))
    fact(b"PHYSDEVOP_irq_status_query flags of a bound one", u64(query.flags))
    unmap(b"PHYSDEVOP_unmap_pirq bound", GSI_OTHER)
    op = abi.evtchn_close(port=bound.port)
    tell(b"EVTCHNOP_close pirq", event_channel_op(abi.EVTCHNOP_close, ref(op)))
    unmap(b"PHYSDEVOP_unmap_pirq unbound", GSI_OTHER)
    unmap(b"PHYSDEVOP_unmap_pirq negative", -1)
    unmap(b"PHYSDEVOP_unmap_pirq no such pirq", NO_PIRQ)
    unmapping.domid = NO_DOMAIN
    tell(
        b"PHYSDEVOP_unmap_pirq missing domain",
        physdev(abi.PHYSDEVOP_unmap_pirq, u64(ref(unmapping))),
    )
    vector.irq = GSI_FREE
    vector.vector = 0
    tell(
        b"PHYSDEVOP_alloc_irq_vector",
        physdev(abi.PHYSDEVOP_alloc_irq_vector, u64(ref(vector))),
    )
    fact(b"PHYSDEVOP_alloc_irq_vector vector", u64(vector.vector))
    vector.irq = NO_PIRQ
    tell(
        b"PHYSDEVOP_alloc_irq_vector no such irq",
        physdev(abi.PHYSDEVOP_alloc_irq_vector, u64(ref(vector))),
    )


def ask_apics() -> None:
    apic.apic_physbase = 0xFEC0_0000
    apic.reg = 1
    tell(b"PHYSDEVOP_apic_read", physdev(abi.PHYSDEVOP_apic_read, u64(ref(apic))))
    fact(b"PHYSDEVOP_apic_read version", u64(apic.value & 0xFF))
    apic.reg = 0
    tell(b"PHYSDEVOP_apic_write the id", physdev(abi.PHYSDEVOP_apic_write, u64(ref(apic))))
    apic.apic_physbase = 0x1000
    tell(b"PHYSDEVOP_apic_read elsewhere", physdev(abi.PHYSDEVOP_apic_read, u64(ref(apic))))
    tell(b"PHYSDEVOP_apic_write elsewhere", physdev(abi.PHYSDEVOP_apic_write, u64(ref(apic))))


def ask_pci() -> None:
    """Device 0:0.0, the host bridge, exists; bus 0xfe doesn't. It has no MSI-X, and Xen 4.17 dies
    of being asked to prepare that.
    """
    tell(b"PHYSDEVOP_pci_device_add", physdev(abi.PHYSDEVOP_pci_device_add, u64(ref(added))))
    tell(b"PHYSDEVOP_pci_device_add again", physdev(abi.PHYSDEVOP_pci_device_add, u64(ref(added))))
    added.bus = BUS_MISSING
    tell(
        b"PHYSDEVOP_pci_device_add missing",
        physdev(abi.PHYSDEVOP_pci_device_add, u64(ref(added))),
    )
    tell(b"PHYSDEVOP_manage_pci_add", physdev(abi.PHYSDEVOP_manage_pci_add, u64(ref(managed))))
    tell(
        b"PHYSDEVOP_manage_pci_add_ext",
        physdev(abi.PHYSDEVOP_manage_pci_add_ext, u64(ref(managed_ext))),
    )
    tell(b"PHYSDEVOP_restore_msi", physdev(abi.PHYSDEVOP_restore_msi, u64(ref(managed))))
    tell(b"PHYSDEVOP_restore_msi_ext", physdev(abi.PHYSDEVOP_restore_msi_ext, u64(ref(device))))
    device.bus = BUS_MISSING - 1
    tell(b"PHYSDEVOP_prepare_msix missing", physdev(abi.PHYSDEVOP_prepare_msix, u64(ref(device))))
    tell(b"PHYSDEVOP_release_msix missing", physdev(abi.PHYSDEVOP_release_msix, u64(ref(device))))
    tell(
        b"PHYSDEVOP_restore_msi_ext missing",
        physdev(abi.PHYSDEVOP_restore_msi_ext, u64(ref(device))),
    )
    tell(
        b"PHYSDEVOP_pci_device_remove missing",
        physdev(abi.PHYSDEVOP_pci_device_remove, u64(ref(device))),
    )
    managed.bus = BUS_MISSING - 1
    tell(
        b"PHYSDEVOP_manage_pci_remove missing",
        physdev(abi.PHYSDEVOP_manage_pci_remove, u64(ref(managed))),
    )
    device.bus = 0
    tell(b"PHYSDEVOP_pci_device_remove", physdev(abi.PHYSDEVOP_pci_device_remove, u64(ref(device))))


def platform(command: u32) -> i64:
    platform_request.cmd = command
    platform_request.interface_version = abi.XENPF_INTERFACE_VERSION
    return hypercall(abi.__HYPERVISOR_platform_op, u64(ref(platform_request)), 0, 0, 0, 0)


def ask_platform() -> None:
    number = u64(abi.__HYPERVISOR_platform_op)
    tell(b"platform_op unmapped", hypercall(number, WILD_ADDRESS, 0, 0, 0, 0))
    tell(b"platform_op no such command", platform(NO_COMMAND))
    platform_request.interface_version = 7
    result = hypercall(number, u64(ref(platform_request)), 0, 0, 0, 0)
    tell(b"platform_op wrong version", result)
    clock = ref(platform_request.u.settime64)
    clock.secs = 1_800_000_000
    clock.nsecs = 1_000_000_000
    clock.mbz = 0
    tell(b"XENPF_settime64 too many nanoseconds", platform(abi.XENPF_settime64))
    clock.nsecs = 7
    clock.mbz = 1
    tell(b"XENPF_settime64 not zero", platform(abi.XENPF_settime64))
    clock.mbz = 0
    tell(b"XENPF_settime64", platform(abi.XENPF_settime64))
    old = ref(platform_request.u.settime32)
    old.secs = 1_800_000_000
    old.nsecs = 1_000_000_000
    old.system_time = 0
    tell(b"XENPF_settime32 too many nanoseconds", platform(abi.XENPF_settime32))
    old.nsecs = 7
    tell(b"XENPF_settime32", platform(abi.XENPF_settime32))
    fact(b"XENPF_settime32 shows nanoseconds", u64(shared_info.wc_nsec))
    fact(b"XENPF_settime32 shows seconds", u64(shared_info.wc_sec))
    ask_firmware()
    sleep = ref(platform_request.u.enter_acpi_sleep)
    sleep.sleep_state = 6
    tell(b"XENPF_enter_acpi_sleep 6", platform(abi.XENPF_enter_acpi_sleep))
    cpu = ref(platform_request.u.pcpu_info)
    cpu.xen_cpuid = 0
    tell(b"XENPF_get_cpuinfo", platform(abi.XENPF_get_cpuinfo))
    fact(b"XENPF_get_cpuinfo flags", u64(cpu.flags))
    fact(b"XENPF_get_cpuinfo greatest", u64(cpu.max_present))
    fact(b"XENPF_get_cpuinfo apic", u64(cpu.apic_id))
    fact(b"XENPF_get_cpuinfo acpi", u64(cpu.acpi_id))
    cpu.xen_cpuid = 1
    tell(b"XENPF_get_cpuinfo 1", platform(abi.XENPF_get_cpuinfo))
    fact(b"XENPF_get_cpuinfo 1 apic", u64(cpu.apic_id))
    cpu.xen_cpuid = 1000
    tell(b"XENPF_get_cpuinfo missing", platform(abi.XENPF_get_cpuinfo))
    fact(b"XENPF_get_cpuinfo missing, flags", u64(cpu.flags))
    fact(b"XENPF_get_cpuinfo missing, greatest", u64(cpu.max_present))


def ask_about_power() -> None:
    info = ref(platform_request.u.set_pminfo)
    info.type = 4
    tell(b"XENPF_set_processor_pminfo no such type", platform(abi.XENPF_set_processor_pminfo))
    info.type = abi.XEN_PM_PDC
    info.u.pdc = Guest[u32](WILD_ADDRESS)
    tell(b"XENPF_set_processor_pminfo unmapped", platform(abi.XENPF_set_processor_pminfo))
    info.u.pdc = Guest[u32](u64(ref(capabilities)))
    tell(b"XENPF_set_processor_pminfo nothing", platform(abi.XENPF_set_processor_pminfo))
    capabilities[0] = 1
    capabilities[1] = 1
    capabilities[2] = 0x10
    info.id = 1000
    tell(b"XENPF_set_processor_pminfo no such processor", platform(abi.XENPF_set_processor_pminfo))
    info.id = 0xFFFFFFFF
    tell(b"XENPF_set_processor_pminfo", platform(abi.XENPF_set_processor_pminfo))


def ask_machine_checks(command: u32) -> i64:
    machine_checks.cmd = command
    machine_checks.interface_version = abi.XEN_MCA_INTERFACE_VERSION
    return hypercall(abi.__HYPERVISOR_arch_0, u64(ref(machine_checks)), 0, 0, 0, 0)


def ask_about_machine_checks() -> None:
    number = u64(abi.__HYPERVISOR_arch_0)
    tell(b"mca unmapped", hypercall(number, WILD_ADDRESS, 0, 0, 0, 0))
    machine_checks.interface_version = 7
    tell(b"mca wrong version", hypercall(number, u64(ref(machine_checks)), 0, 0, 0, 0))
    tell(b"mca no such command", ask_machine_checks(99))
    tell(b"XEN_MC_physcpuinfo", ask_machine_checks(abi.XEN_MC_physcpuinfo))
    cpus = ref(machine_checks.u.mc_physcpuinfo)
    fact(b"XEN_MC_physcpuinfo processors", u64(cpus.ncpus))
    cpus.info = Guest[abi.mcinfo_logical_cpu](WILD_ADDRESS)
    tell(b"XEN_MC_physcpuinfo unmapped", ask_machine_checks(abi.XEN_MC_physcpuinfo))
    cpus.ncpus = 0
    tell(b"XEN_MC_physcpuinfo no room", ask_machine_checks(abi.XEN_MC_physcpuinfo))


def ask_firmware() -> None:
    """Only what asks for nothing that depends on the machine."""
    info = ref(platform_request.u.firmware_info)
    info.type = abi.XEN_FW_DISK_INFO
    info.index = 200
    tell(b"XENPF_firmware_info missing disk", platform(abi.XENPF_firmware_info))
    info.type = abi.XEN_FW_DISK_MBR_SIGNATURE
    tell(b"XENPF_firmware_info missing signature", platform(abi.XENPF_firmware_info))
    info.type = abi.XEN_FW_VBEDDC_INFO
    tell(b"XENPF_firmware_info display, index 200", platform(abi.XENPF_firmware_info))
    info.type = abi.XEN_FW_EFI_INFO
    tell(b"XENPF_firmware_info efi", platform(abi.XENPF_firmware_info))
    info.type = abi.XEN_FW_KBD_SHIFT_FLAGS
    tell(b"XENPF_firmware_info keyboard, index 200", platform(abi.XENPF_firmware_info))
    info.index = 0
    tell(b"XENPF_firmware_info keyboard", platform(abi.XENPF_firmware_info))
    info.type = NO_COMMAND
    tell(b"XENPF_firmware_info unknown", platform(abi.XENPF_firmware_info))


def ask_console() -> None:
    number = u64(abi.__HYPERVISOR_console_io)
    write, read = u64(abi.CONSOLEIO_write), u64(abi.CONSOLEIO_read)
    tell(b"CONSOLEIO_write nothing", hypercall(number, write, 0, u64(ref(text)), 0, 0))
    tell(b"CONSOLEIO_write unmapped", hypercall(number, write, 8, WILD_ADDRESS, 0, 0))
    tell(b"CONSOLEIO_write the core", hypercall(number, write, 8, CORE_ADDRESS, 0, 0))
    tell(b"CONSOLEIO_read nothing typed", hypercall(number, read, 8, u64(ref(text)), 0, 0))
    tell(b"CONSOLEIO_read unmapped", hypercall(number, read, 8, WILD_ADDRESS, 0, 0))
    tell(b"CONSOLEIO_read 2 GiB", hypercall(number, read, 1 << 31, u64(ref(text)), 0, 0))
    tell(b"CONSOLEIO no such command", hypercall(number, NO_COMMAND, 8, u64(ref(text)), 0, 0))
