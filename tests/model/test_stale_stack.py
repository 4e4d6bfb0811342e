"""What a guest's structure is read into is not cleared before: where it cannot be read, nothing is
done with what lay there. Each test first leaves on the stacks what would have an effect.
"""

import ctypes

import abi
import pytest

from tests.model.codes import EFAULT
from tests.model.errors import UNMAPPED, expect_unchanged, guest, picture
from tests.model.execute import NOTHING_MAPPED, UD, Executor
from tests.model.guest import BASE, FIRST_DATA_PAGE, PAGE
from tests.model.processors import NR_MODEL_CPUS, STACK_BYTES
from tests.model.test_emulation import FORCED_CPUID
from tests.model.test_errors_grant import FREE_VA, OP, SELF, mapped

RED_ZONE = 128  # below the stack pointer, in use all the same
DATA = BASE + FIRST_DATA_PAGE * PAGE


def leave_on_stacks(machine, words, turn=0):
    """Fill what is free of every processor's stack with words, again and again."""
    words = [*words[turn:], *words[:turn]]
    data = b"".join(word.to_bytes(8, "little") for word in words)
    cpus, lowest = machine["tests.model.processors.cpus"], machine.memory.stacks
    for number in range(NR_MODEL_CPUS):
        bottom = lowest + number * STACK_BYTES
        count = (cpus[number].rsp - RED_ZONE - bottom) // len(data)
        ctypes.memmove(bottom, data * count, len(data) * count)


@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("command", [abi.GNTTABOP_unmap_grant_ref, abi.GNTTABOP_unmap_and_replace])
def test_no_grant_is_unmapped(machine, command, turn):
    """An address, no other address, and handle 0."""
    mapped()(machine)
    leave_on_stacks(machine, [FREE_VA, 0, 0], turn)
    before = picture(machine)
    assert guest(machine).call(OP, command, UNMAPPED, 1) == EFAULT
    expect_unchanged(machine, before)


@pytest.mark.parametrize("turn", range(3))
def test_no_grant_table_is_listed(machine, turn):
    """A domain and a number of frames, a status, and the list."""
    leave_on_stacks(machine, [SELF | 1 << 32, 0, DATA], turn)
    assert guest(machine).call(OP, abi.GNTTABOP_setup_table, UNMAPPED, 1) == EFAULT
    assert guest(machine).words(DATA, 1) == [0]


@pytest.mark.parametrize("turn", range(8))
def test_no_instruction_is_emulated(machine, turn):
    """The code of one that another processor has unmapped meanwhile."""
    executor = Executor(machine, machine.guests[0])
    code = FORCED_CPUID[turn:] + FORCED_CPUID[:turn]
    leave_on_stacks(machine, [int.from_bytes(code, "little")])
    assert executor.execute(b"", UD, 0, at=NOTHING_MAPPED) == UD
