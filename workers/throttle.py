"""Keeps frequent events down to a bearable rate."""

import time


class Throttle:
    """Lets something happen at most once every `interval_s` seconds."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._next = 0.0

    def due(self) -> bool:
        """True at the first call, and again once `interval_s` has passed since the last True."""
        moment = time.monotonic()
        if moment < self._next:
            return False
        self._next = moment + self._interval_s
        return True
