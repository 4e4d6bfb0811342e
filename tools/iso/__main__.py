"""`python -m tools.iso`, or `make iso`: build the medium that a PC boots from."""

from tools.iso.build import build_iso
from tools.setup.plain import plain_errors
from tools.setup.progress import say

USE = """burn it on a disc, or write it on a USB stick (all that is on that is lost):
    dd if={} of=/dev/sdX bs=4M oflag=direct"""


def main() -> None:
    """Build, and say what to do with it."""
    iso = build_iso()
    say(f"{iso} has {iso.stat().st_size / 2**20:.0f} MiB; {USE.format(iso)}")


if __name__ == "__main__":
    with plain_errors():
        main()
