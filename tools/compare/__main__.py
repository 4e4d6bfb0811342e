"""`make compare`: ask Proxen and real Xen the same questions, and show where they differ.

A guest that makes every hypercall, with good and bad arguments, boots as dom0's kernel on both;
what it prints is kept in build/compare/{xen,proxen}.txt. Differences that are meant stand in
tests/guests/kernels/probes/differences.txt with their reasons; any other one is a failure (exit
code 1), and so is a listed one that is gone.

HV=xen-4.20 asks that Xen instead. Where it answers otherwise than 4.17 did, the difference is the
Xens' own: shown, and no failure.
"""

import argparse
import sys

from tools.compare.allowed import Malformed, read_allowed, sort_out
from tools.compare.boot import KEPT, RECORDED, kept_path, recorded, transcript_of
from tools.compare.transcript import MISSING, Repeated, answers, as_text, differences
from tools.qemu.hosts import XENS, peer
from tools.qemu.machine import MachineFailure
from tools.run.build import build_programs
from tools.setup.progress import say, step

MOST_TRACE = 2000  # characters of a lost machine's report


def main() -> int:
    """Boot both, compare, print.

    Returns: the exit code.
    """
    parser = argparse.ArgumentParser(
        prog="make compare", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--recorded",
        action="store_true",
        help="don't boot Xen: compare with what it answered when it was last recorded",
    )
    parser.add_argument(
        "--record", action="store_true", help="keep Xen's answers as the recorded ones"
    )
    parser.add_argument("--no-build", action="store_true", help="use what is built")
    chosen = parser.parse_args()
    try:
        return compare(chosen)
    except (MachineFailure, Malformed, Repeated) as failure:
        say(str(failure))
        return 1


def compare(chosen: argparse.Namespace) -> int:
    """Do what the command line says.

    Returns: the exit code.
    """
    if not chosen.no_build:
        build_programs("core", "guest_probes")
    if chosen.recorded:
        xen, ended = recorded(), True
    else:
        xen, ended = ask(peer(), f"Xen {XENS[peer()]}")
    if chosen.record and ended and peer() == "xen":
        RECORDED.write_text(as_text(xen))
    proxen, proxen_ended = ask("proxen", "Proxen")
    if peer() != "xen" and not chosen.recorded:
        xen = without_news(xen, recorded(), proxen)
    return report(xen, proxen, ended and proxen_ended)


def without_news(
    xen: dict[str, str], before: dict[str, str], proxen: dict[str, str]
) -> dict[str, str]:
    """Show where this Xen answers otherwise than 4.17 did.

    Returns: its answers, those replaced by 4.17's.
    """
    news = [d for d in differences(before, xen) if MISSING not in (d.xen, d.proxen)]
    for change in news:
        ours = proxen.get(change.name, MISSING)
        print(f"{change.name}\n    4.17    {change.xen}\n    now     {change.proxen}")
        print(f"    proxen  {ours}")
    say(f"{len(news)} answers of this Xen are others than 4.17's, and no difference of ours")
    return xen | {change.name: change.xen for change in news}


def ask(kind: str, name: str) -> tuple[dict[str, str], bool]:
    """Return a hypervisor's answers, and whether it came to the end; what it said till then is kept
    when it is lost half way.
    """
    with step(f"ask {name}"):
        try:
            return transcript_of(kind), True
        except MachineFailure as failure:
            say(f"{name} did not come to the end: {str(failure)[:MOST_TRACE]}")
            return answers(kept_path(kind).read_text()), False


def report(xen: dict[str, str], proxen: dict[str, str], all_ended: bool) -> int:
    """Print the differences; of transcripts that are not whole, only what both have.

    Returns: the exit code.
    """
    found = differences(xen, proxen)
    if not all_ended:
        found = [d for d in found if MISSING not in (d.xen, d.proxen)]
    unexplained, explained, stale = sort_out(found, read_allowed())
    if not all_ended:
        stale = []
    for difference in unexplained:
        print(difference)
    for gone in stale:
        print(f"{gone.name}\n    listed as different ({gone.reason}), but isn't any more")
    say(
        f"{len(xen)} answers: {len(unexplained)} differ, {len(explained)} differ on purpose, "
        f"{len(stale)} listed in vain; transcripts in build/{KEPT.name}/"
    )
    return 1 if unexplained or stale or not all_ended else 0


if __name__ == "__main__":
    sys.exit(main())
