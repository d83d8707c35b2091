"""Questions to other services that may hang, asked so that whoever wants the answer need not wait for it."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Probe(Generic[T]):
    """A question that is asked in a thread of its own. However often it is asked while no answer comes, there is one
    such thread; it does not keep the process from ending."""

    def __init__(self, question: Callable[[], T]) -> None:
        self._question = question
        self._lock = Lock()
        self._answer: Future[T] | None = None

    def ask(self) -> "Future[T]":
        """The answer to come, or what the question raises. One that is under way already is shared."""
        with self._lock:
            if self._answer is None or self._answer.done():
                self._answer = Future()
                Thread(target=self._fetch, args=(self._answer,), daemon=True).start()
            return self._answer

    def _fetch(self, answer: "Future[T]") -> None:
        try:
            answer.set_result(self._question())
        except BaseException as error:  # noqa: BLE001  # raised again where the answer is wanted
            answer.set_exception(error)
