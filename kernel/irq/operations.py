"""Build-time registry of the operations on physical devices: PHYSDEVOP_*."""

from kernel.base.registry import operations

physdev_op, physdev_ops = operations("physical device operation")
