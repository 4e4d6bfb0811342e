"""Which modules of Debian's kernel dom0 has: by folder, so that what is new in a kernel comes too.

The ramdisk has what a root disk may hang on and a keyboard to see why it is not found; the root
disk, every driver of storage, network and USB, and the watchdogs.
"""

from tools.image.kernel import Kernel

# Below kernel/ of the modules' folder.
STORAGE = (
    "drivers/ata",
    "drivers/message",
    "drivers/mmc",
    "drivers/nvme/host",
    "drivers/scsi",
    "drivers/usb/core",
    "drivers/usb/host",
    "drivers/usb/storage",
    "drivers/virtio",
)
ALL = (*STORAGE, "drivers/block", "drivers/hid", "drivers/md", "drivers/net", "drivers/nvme")
ALL = (*ALL, "drivers/usb", "drivers/watchdog")
# A root disk over the network is none of ours; PC cards are gone, and pull in a bus of their own.
NOT_FOR_BOOT = ("drivers/net", "drivers/infiniband", "drivers/pcmcia", "net")
NOT_AT_ALL = ("drivers/gpu", "drivers/media", "sound")

BOOT_NAMES = ("virtio_blk", "vmd", "hid-generic", "usbhid", "ext4", "crc32c_generic")
BOOT_NAMES = (*BOOT_NAMES, "crc32c-intel")
BOOT_NAMES = (*BOOT_NAMES, "isofs", "loop", "overlay")  # a root file system on a disc
XEN_NAMES = ("xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-privcmd", "xenfs")
XEN_NAMES = (*XEN_NAMES, "xen-blkback", "xen-netback")
FILES_NAMES = ("squashfs", "overlay", "isofs", "vfat", "nls_cp437", "nls_ascii", "nls_utf8")
DOM0_NAMES = (*BOOT_NAMES, *XEN_NAMES, *FILES_NAMES, "loop", "bridge", "tun", "af_packet")
DOMU_NAMES = ("xen-blkfront", "xen-netfront", "ext4", "crc32c_generic", "crc32c-intel")
DOMU_NAMES = (*DOMU_NAMES, "af_packet")


def boot_modules(stock: Kernel) -> tuple[str, ...]:
    """Return the modules of dom0's ramdisk."""
    return (*BOOT_NAMES, *stock.below(STORAGE, NOT_FOR_BOOT))


def dom0_modules(stock: Kernel) -> tuple[str, ...]:
    """Return the modules on dom0's root disk."""
    return (*DOM0_NAMES, *stock.below(ALL, NOT_AT_ALL))
