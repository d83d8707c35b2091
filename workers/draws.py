"""How many candidates were drawn, and how many samples came of them."""

from dataclasses import dataclass


@dataclass
class Draws:
    """Counts of one shard."""

    judged: int = 0
    settled: int = 0

    def add(self, judged: int, settled: int) -> None:
        """So many more candidates were judged, and so many more samples settled."""
        self.judged += judged
        self.settled += settled
