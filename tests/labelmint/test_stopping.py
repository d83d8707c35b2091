"""Ctrl-C: the first is a request, the second the usual one."""

import os
import signal
from collections.abc import Iterator

import pytest

from labelmint.stopping import stop_requests


@pytest.fixture(autouse=True)
def usual_interrupts() -> Iterator[None]:
    """As at a terminal: what a shell starts in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_nothing_more(number: signal.Signals) -> None:
    usual = signal.getsignal(number)
    with stop_requests() as request:
        assert not request.made
        os.kill(os.getpid(), number)
        assert request.made
        assert signal.getsignal(number) == usual
    assert signal.getsignal(number) == usual


def test_the_second_interrupt_interrupts() -> None:
    with stop_requests():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
