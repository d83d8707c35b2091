"""How many candidates were drawn, and how many samples came of them."""

from threading import Lock


class Draws:
    """Counts of one shard, from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._judged = self._settled = 0

    def add(self, judged: int, settled: int) -> None:
        """So many more candidates were judged, and so many more samples settled."""
        with self._lock:
            self._judged += judged
            self._settled += settled

    def counts(self) -> tuple[int, int]:
        """Candidates judged and samples settled."""
        with self._lock:
            return self._judged, self._settled
