"""Build-time registry of the scheduling operations: SCHEDOP_*."""

from kernel.base.registry import operations

sched_op, sched_ops = operations("scheduling operation")
