"""What an Accept header asks for."""

import pytest

from service.accept import preferred

OFFERS = ("text/event-stream", "application/json")


@pytest.mark.parametrize(
    ("accept", "choice"),
    [
        ("", 0),
        ("*/*", 0),
        (" , ,", 0),
        ("text/*", 0),
        ("TEXT/Event-Stream", 0),
        ("application/json", 1),
        ("application/json; charset=utf-8", 1),
        ("application/*", 1),
        ("application/json, */*", 1),
        ("application/json, text/event-stream", 0),
        ("application/json;q=0.5, text/event-stream; q=0.4", 1),
        ("text/event-stream;q=0, */*", 1),
        ("*/*, text/event-stream;q=0.1", 1),
        ("application/json;q=0.1, */*;q=0.9", 0),
        ("text/html, application/xml;q=0.9, */*;q=0.8", 0),
        ("text/html", None),
        ("*/*;q=0", None),
        ("application/json;q=x", None),
        ("json", None),
        (";;;q=1;", None),
    ],
)
def test_the_best_offer_is_chosen(accept: str, choice: int | None) -> None:
    assert preferred(accept, OFFERS) == (None if choice is None else OFFERS[choice])
