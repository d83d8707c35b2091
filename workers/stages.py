"""How busy each stage of a pipeline is, so that its slowest one can be named."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class StageClock:
    """Adds up the time that stages are at work; a stage may have several lanes, which work side by side."""

    def __init__(self, lanes: Mapping[str, int]) -> None:
        """`lanes`: how many threads or processes each stage has."""
        self._lanes = dict(lanes)
        self._busy_s = dict.fromkeys(lanes, 0.0)
        self._under_way: dict[object, tuple[str, float]] = {}
        self._lock = threading.Lock()
        self._started = time.monotonic()

    def add(self, stage: str, seconds: float) -> None:
        """`stage` was at work for so long in one of its lanes."""
        with self._lock:
            self._busy_s[stage] += seconds

    @contextmanager
    def busy(self, stage: str) -> Iterator[None]:
        """Count the time spent inside, from its beginning on: it may take long."""
        visit, began = object(), time.monotonic()
        with self._lock:
            self._under_way[visit] = stage, began
        try:
            yield
        finally:
            with self._lock:
                del self._under_way[visit]
            self.add(stage, time.monotonic() - began)

    def shares(self) -> dict[str, float]:
        """Stage → share of its lanes' time since the clock was made that it was at work, 0 to 1, to three places."""
        moment = time.monotonic()
        elapsed = max(moment - self._started, 1e-9)
        with self._lock:
            busy_s = dict(self._busy_s)
            for stage, began in self._under_way.values():
                busy_s[stage] += moment - began
        return {stage: round(min(1.0, s / (elapsed * self._lanes[stage])), 3) for stage, s in busy_s.items()}

    def details(self) -> dict[str, float | str]:
        """The shares as a job's progress tells them: `busy.{stage}` each, and which is the `slowest`."""
        shares = self.shares()
        told: dict[str, float | str] = {f"busy.{stage}": share for stage, share in shares.items()}
        return told | {"slowest": max(shares, key=lambda stage: shares[stage])}
