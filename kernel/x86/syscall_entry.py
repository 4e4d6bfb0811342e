"""What the entry assembly and `kernel.x86.descriptors` agree on about stubs and the scratch words
of `syscall`.
"""

from kpy import Array, offsetof, sizeof, static, struct, u64

from kernel.x86.percpu import NR_CPUS

STUB_STRIDE = 16  # from one vector's stub to the next
SYSCALL_STRIDE = 64  # from one processor's syscall stub to the next


@struct(align=64)
class SyscallScratch:
    """Two words for each processor, on a cache line of their own."""

    rsp: u64  # the guest's stack pointer, for four instructions
    rsp0: u64  # where to push: the end of `regs` in the vCPU that runs


SCRATCH_STRIDE = sizeof(SyscallScratch)
SCRATCH_RSP = offsetof(SyscallScratch, "rsp")
SCRATCH_RSP0 = offsetof(SyscallScratch, "rsp0")

syscall_scratch = static(Array[SyscallScratch, NR_CPUS], symbol="syscall_scratch")
