"""Build-time registry of the operations on event channels: EVTCHNOP_*."""

from kernel.base.registry import operations

event_channel_op, event_channel_ops = operations("event channel operation")
