"""make bench: what elementary operations and booting cost on Proxen, against real Xen 4.17 in the
same QEMU.
"""
