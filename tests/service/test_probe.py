"""A question that hangs, and those who wait for its answer."""

import threading

import pytest

from service.probe import Probe


def test_a_question_that_hangs_is_asked_once_and_again_when_it_has_been_answered() -> None:
    asked, go_on = [], threading.Event()

    def question() -> int:
        asked.append(None)
        assert go_on.wait(20)
        return len(asked)

    probe = Probe(question)
    answers = [probe.ask() for _ in range(10)]
    with pytest.raises(TimeoutError):
        answers[0].result(0.05)
    go_on.set()
    assert {answer.result(20) for answer in answers} == {1}
    assert probe.ask().result(20) == 2


def test_what_a_question_raises_is_raised_where_it_is_answered() -> None:
    def question() -> int:
        raise ValueError("no")

    probe = Probe(question)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            probe.ask().result(20)
