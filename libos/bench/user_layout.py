"""Where the measuring kernel's user mode lives, shared by Python and assembly."""

import abi

USER_CODE = 0x40_0000
USER_STACK = USER_CODE + 0x2000  # grows down into the page after the code
OPERATIONS = ("nothing", "syscall", "page_fault", "breakpoint")
OPERATION_BYTES = 64  # code of one operation
FINISHED = 1

USER_CS = abi.FLAT_USER_CS
USER_SS = abi.FLAT_USER_SS
KERNEL_CS = abi.FLAT_KERNEL_CS & ~3  # how frames of the guest kernel are marked
