"""Notices that the process is told to stop, before whoever waits for open answers to end."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def on_stop_signal(act: Callable[[], None]) -> Iterator[None]:
    """Inside the block, SIGINT and SIGTERM have `act` called in the running event loop, beside what they did before.

    A server that is told to stop waits for all answers to end, and only then lets the application know; answers without
    end have to be told earlier. Outside the main thread, where no signals arrive, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def tell(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(act)
        handler = usual[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        elif handler is signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in usual:
        signal.signal(number, tell)
    try:
        yield
    finally:
        for number, handler in usual.items():
            if signal.getsignal(number) is tell:
                signal.signal(number, handler)
