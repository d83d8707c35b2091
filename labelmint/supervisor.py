"""Child processes that are kept alive while wanted, and gone afterwards."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

_DEATHS_ALLOWED, _WITHIN_S = 5, 60.0
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.5, 8.0

_SECOND_ASKING_S = 1.2
"""A worker ends its part at the first SIGTERM and abandons it at a second one, which it ignores within a second."""

_PATIENCE_S = 6.0


class ChildKeepsDying(RuntimeError):
    """A child ended again and again; the message has the last lines of its log."""


@dataclass
class _Child:
    name: str
    arguments: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    deaths: list[float] = field(default_factory=list)
    restart_at: float = 0.0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """Runs `labelmint` commands as children, each with a log file of its own.

    Use as a context manager, from the main thread: on leaving, no child is left. Children get sessions of their own, so
    that Ctrl-C reaches only this process, which then stops them in order. They die with this process, too, however it
    ends.
    """

    def __init__(self, logs: Path, environment: dict[str, str]) -> None:
        """`environment` is added to this process's own."""
        self._logs = logs
        self._environment = {**os.environ, **environment}
        self._children: list[_Child] = []
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, arguments: list[str]) -> None:
        """Run `labelmint {arguments}` from now on, with its output in `{name}.log`."""
        child = _Child(name, arguments, self._logs / f"{name}.log")
        child.log.write_bytes(b"")
        self._children.append(child)
        self._spawn(child)

    def check(self) -> None:
        """Bring dead children back, ever more slowly; call it several times a second.

        Raises `ChildKeepsDying` for a child that died five times within a minute.
        """
        moment = time.monotonic()
        for child in self._children:
            if child.alive:
                continue
            if child.process is not None:
                child.process = None
                child.deaths = [death for death in child.deaths if moment - death < _WITHIN_S] + [moment]
                if len(child.deaths) >= _DEATHS_ALLOWED:
                    raise ChildKeepsDying(
                        f"{child.name} ended {len(child.deaths)} times within a minute: {_tail(child)}"
                    )
                child.restart_at = moment + min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** (len(child.deaths) - 1))
            elif moment >= child.restart_at:
                self._spawn(child)

    def stop(self) -> None:
        """End every child: ask, ask again, and kill after a few seconds."""
        steps = ((signal.SIGTERM, _SECOND_ASKING_S), (signal.SIGTERM, _PATIENCE_S), (signal.SIGKILL, None))
        for sig, patience_s in steps:
            living = [child.process for child in self._children if child.process is not None and child.alive]
            for process in living:
                process.send_signal(sig)
            signalled = time.monotonic()
            for process in living:
                left = None if patience_s is None else max(0.0, signalled + patience_s - time.monotonic())
                try:
                    process.wait(left)
                except subprocess.TimeoutExpired:
                    continue
        self._children.clear()

    def _spawn(self, child: _Child) -> None:
        command = [sys.executable, "-m", "labelmint", *child.arguments, "--parent", str(os.getpid())]
        with child.log.open("ab") as log:
            child.process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )


def _tail(child: _Child) -> str:
    lines = child.log.read_text(errors="replace").strip().splitlines()
    return f"{lines[-1] if lines else 'it said nothing'} (all of it: {child.log})"
