"""The machine's end: restart and power-off, as domain 0 asks for them."""

from kpy import Never

from kernel.x86.reset import power_off, reboot


def machine_restart() -> Never:
    """Restart the machine."""
    reboot()


def machine_power_off() -> Never:
    """Switch the machine off, through ACPI where there is one."""
    power_off()
