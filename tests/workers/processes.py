"""Worker processes for tests: real ones, which fork, and may be killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from service.settings import Settings

ROOT = Path(__file__).parents[2]


def _heed_ctrl_c() -> None:
    """A shell makes what it starts in the background ignore SIGINT, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def running(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process of this project, killed on leaving if it still runs. Its output goes to `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_heed_ctrl_c,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def worker(settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A `labelmint worker` with these settings."""
    with running(["-m", "labelmint", "worker"], log, LABELMINT_DEVICE="cpu", **_environment(settings)) as process:
        yield process


@contextmanager
def light_worker(
    settings: Settings, log: Path, pause_s: float = 0.2, patience_s: float = 3600.0
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that runs the bodies of tests. It waits `pause_s` after an outage, and bears them for `patience_s`."""
    command = ["-m", "tests.workers.light_worker", str(pause_s), str(patience_s)]
    with running(command, log, **_environment(settings)) as process:
        yield process


def _environment(settings: Settings) -> dict[str, str]:
    names = ("store_url", "s3_endpoint_url", "redis_url", "data_dir", "job_ttl_s", "stop_grace_s")
    names += ("encoder_steps", "import_memory_bytes")
    given = {name: getattr(settings, name) for name in names}
    return {f"LABELMINT_{name.upper()}": str(value) for name, value in given.items() if value is not None}


def wait_for(condition: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Wait until `condition` holds; returns the seconds that took. Fails the test after `timeout_s`."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout_s:
            raise AssertionError(f"after {timeout_s} s still not so: {what}")
        time.sleep(0.05)
    return time.monotonic() - began


def children_of(pid: int) -> list[int]:
    """Ids of the living direct children of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


def kill(pid: int) -> None:
    """End a process as the kernel would for want of memory."""
    os.kill(pid, signal.SIGKILL)
