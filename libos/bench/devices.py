"""Measure a device behind dom0's Linux: `part=disk` (xvda, overwritten) or `part=network`.

Prints `bench NAME MEDIAN MAX` in ns for what is done one by one, and `rate NAME KIBPS` for what is
streamed.
"""

from kpy import export, u64

from libos.bench.disk import measure_disk
from libos.bench.network import measure_network
from libos.console import say
from libos.options import option
from libos.text import same_text


@export
def main() -> u64:
    part = option(b"part")
    if same_text(part, b"disk"):
        return measure_disk()
    if same_text(part, b"network"):
        return measure_network()
    say("bench: part=disk or part=network?")
    return 2
