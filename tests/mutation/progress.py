"""How far a run is, in lines for people."""

import time

from tools.setup.progress import say


class Progress:
    """The share of the work that is done, by weights that its parts have."""

    def __init__(self, nr_checks: int, weights: list[float]) -> None:
        self.nr_checks, self.total, self.done = nr_checks, sum(weights), 0.0
        self.start = time.monotonic()

    def add(self, weight: float, what: str, killed: int) -> None:
        """Say that a part is done."""
        self.done += weight
        took = time.monotonic() - self.start
        left = took * (self.total - self.done) / self.done
        say(
            f"{what}: {killed} of {self.nr_checks} checks noticed, {took / 60:.1f} min, "
            f"about {left / 60:.0f} min left"
        )
