"""How the machine ends: stop the processors, reboot, power off.

Source: ACPI 6.4, 4.8.3.2 (PM1 control), 4.8.3.6 (reset register); the keyboard controller and the
PCI reset port for machines without.
"""

from kpy import Never, static, u16

from kernel.x86 import fixed_hardware
from kernel.x86.cpu import disable_interrupts, halt_forever, out8, out16, pause

SLEEP_ENABLE = 1 << 13
KEYBOARD_COMMAND = 0x64
KEYBOARD_RESET = 0xFE
PCI_RESET_PORT = 0xCF9
PATIENCE = 1_000_000

is_stopping = static(bool)  # an NMI now means: stop


def stop_on_nmi() -> None:
    """Let the next NMI halt whichever processor it strikes, for good."""
    global is_stopping
    is_stopping = True


def reboot() -> Never:
    """Restart the machine."""
    disable_interrupts()
    if fixed_hardware.reset_port != 0:
        out8(fixed_hardware.reset_port, fixed_hardware.reset_value)
        wait_a_little()
    out8(PCI_RESET_PORT, 0x02)
    out8(PCI_RESET_PORT, 0x06)
    wait_a_little()
    out8(KEYBOARD_COMMAND, KEYBOARD_RESET)
    wait_a_little()
    halt_forever()


def wait_a_little() -> None:
    """Give the machine time to reset."""
    for _ in range(PATIENCE):
        pause()


def enter_sleep_state(pm1a_value: u16, pm1b_value: u16) -> None:
    """Write the PM1 control registers as domain 0 worked them out; after S5 it is dark."""
    disable_interrupts()
    if fixed_hardware.pm1a_control_port != 0:
        out16(fixed_hardware.pm1a_control_port, pm1a_value | SLEEP_ENABLE)
    if fixed_hardware.pm1b_control_port != 0:
        out16(fixed_hardware.pm1b_control_port, pm1b_value | SLEEP_ENABLE)
    wait_a_little()


def power_off() -> Never:
    """Switch the machine off without domain 0's help: sleep type 0, which is S5 on QEMU and many
    others; else halt.
    """
    enter_sleep_state(0, 0)
    halt_forever()
