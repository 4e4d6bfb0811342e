"""A toy kernel to talk to: it repeats what is typed at its console, until `quit`."""

from kpy import Array, export, static, u8, u64

from libos.console import say
from libos.keyboard import init_keyboard, read_line
from libos.start_info import is_initial_domain
from libos.text import same_text

line = static(Array[u8, 80])


@export
def main() -> u64:
    if is_initial_domain():
        say("echo: dom0 has no console to type at")
        return 1
    init_keyboard()
    say("echo: type something; quit ends it")
    while True:
        length = read_line(line[0:80])
        if same_text(line[0:length], b"quit"):
            return 0
        say(f"echo: {line[0:length]}")
