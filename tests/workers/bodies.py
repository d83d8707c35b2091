"""Job bodies that die in the ways a job body can die. Their first argument is a job's id."""

import os
import resource
import signal
import time
from pathlib import Path

from service.stores.protocol import StoreUnavailable
from workers.workbench import Workbench, run_body


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


def linger_always(job_id: str, tally: str) -> None:
    """Count the call, and take a minute."""
    _count(tally)
    time.sleep(60)


def go_on_when_told(job_id: str, tally: str) -> None:
    """Count the call, do without store and Redis until there is a file `go` beside the tally, and succeed."""

    def body(bench: Workbench) -> None:
        _count(tally)
        while not Path(tally).with_name("go").exists():
            time.sleep(0.1)
        bench.ledger.succeed(job_id, {})

    run_body(job_id, body)


def break_unforeseen(job_id: str, tally: str) -> None:
    """Count the call, and raise what no job body is supposed to let out."""
    _count(tally)
    raise RuntimeError("not foreseen")


def break_once(job_id: str, tally: str) -> None:
    """Count the call, and raise what no job body is supposed to let out if it is the first."""
    if _count(tally) == 1:
        raise RuntimeError("not foreseen")


def overrun(job_id: str, tally: str) -> None:
    """Count the call, and take longer than anyone allows, in a proper job body."""
    _count(tally)
    run_body(job_id, lambda bench: time.sleep(30))


def lose_the_store_once(job_id: str, tally: str) -> None:
    """Count the call, and fail the first time in a way that a retry may mend."""
    calls = _count(tally)

    def body(bench: Workbench) -> None:
        if calls == 1:
            raise StoreUnavailable("for a moment")
        bench.ledger.succeed(job_id, {})

    run_body(job_id, body)


def pack_spread(job_id: str, tally: str) -> None:
    """Pack a dataset, however small, with the help of two processes; tell their seconds of processor time."""
    from workers import package, process_map

    process_map.WORTH_S, process_map.usable_cores = 0.0, lambda: 2
    package.run(job_id)
    Path(tally).write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime))


def lose_the_store(job_id: str, tally: str) -> None:
    """Count the call, and never get anything from the store."""
    _count(tally)

    def body(bench: Workbench) -> None:
        raise StoreUnavailable("for good")

    run_body(job_id, body)


def _count(tally: str) -> int:
    with Path(tally).open("a") as file:
        file.write("x")
    return Path(tally).stat().st_size
