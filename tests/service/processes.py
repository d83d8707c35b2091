"""API processes for tests."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx


@dataclass(frozen=True)
class Api:
    """A uvicorn process that answers on a free loopback port, and its log."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path


@contextmanager
def api_process(directory: Path, redis_url: str, quick_s: float | None = None, **settings: str) -> Iterator[Api]:
    """The API with its store and its log below `directory`, ended on leaving. `quick_s`: see `quick_api`."""
    listener = socket.create_server(("127.0.0.1", 0))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LABELMINT_")} | settings
    environment |= {"LABELMINT_STORE_URL": f"file://{directory}/store", "LABELMINT_REDIS_URL": redis_url}
    server = ["uvicorn"] if quick_s is None else ["tests.service.quick_api", str(quick_s)]
    options = ["service.app:create_app", "--factory", "--no-access-log", "--fd", str(listener.fileno())]
    log = directory / "api.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *server, *options],
            env=environment,
            pass_fds=[listener.fileno()],
            stdout=output,
            stderr=output,
        )
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    try:
        _wait_for(url, process)
        yield Api(url, process, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        finally:
            process.kill()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        try:
            httpx.get(f"{url}/healthz")
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise RuntimeError("the API did not start")
