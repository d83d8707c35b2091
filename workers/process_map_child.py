"""What a process that `process_map` started does: what it is sent, until it is ended."""

import pickle
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Any

from workers.lifeline import die_with_parent

_SWITCH_S = 0.0005
"""After which the reading thread gets its turn: what is sent should not wait for what is being worked on."""


def serve(descriptor: int, parent_pid: int) -> None:
    """Apply the function that comes first to lists of items that come after it, and answer each with the list of
    results, or with None if one raised. Returns when nobody is at the other end of the socket `descriptor`."""
    die_with_parent(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    sys.setswitchinterval(_SWITCH_S)
    connection = Connection(descriptor)
    received: SimpleQueue[bytes | None] = SimpleQueue()
    # Everything is taken at once, whether it can be worked on or not: a parent that had to wait until it may send could
    # not read what its children have to say.
    Thread(target=_receive, args=(connection, received), daemon=True).start()
    function: Callable[[Any], Any] | None = None
    while (data := received.get()) is not None:
        if function is None:
            function = pickle.loads(data)  # noqa: S301  # from the parent, by an inherited socket
            continue
        answer = _results(function, pickle.loads(data))  # noqa: S301
        try:
            connection.send_bytes(pickle.dumps(answer, pickle.HIGHEST_PROTOCOL))
        except OSError:
            return


def _receive(connection: Connection, received: SimpleQueue[bytes | None]) -> None:
    try:
        while True:
            received.put(connection.recv_bytes())
    except (EOFError, OSError):
        received.put(None)


def _results(function: Callable[[Any], Any], items: list[Any]) -> list[Any] | None:
    try:
        return [function(item) for item in items]
    except Exception:  # noqa: BLE001  # the parent repeats it, and raises what is raised then
        return None
