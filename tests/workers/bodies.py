"""Job bodies that die in the ways a job body can die. Their first argument is a job's id."""

import os
import signal
import time
from pathlib import Path


def die(job_id: str, tally: str) -> None:
    """Count the call, and be killed."""
    _count(tally)
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(job_id: str, tally: str) -> None:
    """Count the call, and be killed if it is the first."""
    if _count(tally) == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def linger(job_id: str, tally: str) -> None:
    """Count the call, and take a minute the first time."""
    if _count(tally) == 1:
        time.sleep(60)


def break_unforeseen(job_id: str, tally: str) -> None:
    """Count the call, and raise what no job body is supposed to let out."""
    _count(tally)
    raise RuntimeError("not foreseen")


def _count(tally: str) -> int:
    with Path(tally).open("a") as file:
        file.write("x")
    return Path(tally).stat().st_size
