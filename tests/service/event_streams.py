"""Reads the events of a job for tests: server-sent ones as the standard has it, and pages."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from service.records import JobState

STREAM = {"accept": "text/event-stream"}
PAGE = {"accept": "application/json"}


class EventStream:
    """The events of one answer, in an iteration that lasts as long as the answer. Of each, its `data`."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.comments = 0
        self.retry: int | None = None
        self._events = self._read()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._events

    def take(self, count: int) -> list[dict[str, Any]]:
        """The next `count` events."""
        return [next(self._events) for _ in range(count)]

    def _read(self) -> Iterator[dict[str, Any]]:
        fields: dict[str, str] = {}
        for line in self.answer.iter_lines():
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if line == "":
                if "data" in fields:
                    event = json.loads(fields["data"])
                    assert (str(event["id"]), event["type"]) == (fields["id"], fields["event"])
                    yield event
                fields = {}
            elif name == "":
                self.comments += 1
            elif name == "retry":
                self.retry = int(value)
            else:
                assert name in ("id", "event", "data")
                assert name not in fields
                fields[name] = value
        assert not fields, "the stream ended within an event"


_TLS = ssl.create_default_context()  # never used, and otherwise made for each stream, which takes a while


@contextmanager
def event_stream(url: str, last: int | None = None, **options: Any) -> Iterator[EventStream]:
    """The stream at `url`, from after the event with the id `last`."""
    headers = STREAM | ({} if last is None else {"last-event-id": str(last)})
    with httpx.stream("GET", url, headers=headers, timeout=30, verify=_TLS, **options) as answer:
        assert answer.status_code == 200
        yield EventStream(answer)


def page(url: str, **query: int) -> dict[str, Any]:
    """The page at `url`."""
    answer = httpx.get(url, headers=PAGE, params=query, timeout=30)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def types(events: list[dict[str, Any]]) -> list[str]:
    """The types of events."""
    return [event["type"] for event in events]


def states(events: list[dict[str, Any]]) -> list[str]:
    """The states that events tell of."""
    return [type_ for type_ in types(events) if type_ in set(JobState)]
