"""Which of several media types a client would rather have."""

from collections.abc import Sequence


def preferred(accept: str, offers: Sequence[str]) -> str | None:
    """The one of `offers`, such as `application/json`, that an `Accept` header asks for; None if it wants none of them.

    Of those wanted equally, one that is named goes before one that only `*` stands for, and then the first. An empty
    header wants everything.
    """
    ranges = [_parsed(part) for part in accept.split(",") if part.strip()] or [("*/*", 1.0)]
    best, best_rank = None, (0.0, 0)
    for offer in offers:
        wildcards = (offer, f"{offer.partition('/')[0]}/*", "*/*")
        # What names the offer most closely decides, even if that is to refuse it.
        known = [
            (quality, 3 - place) for place, wanted in enumerate(wildcards) for name, quality in ranges if name == wanted
        ]
        if known and known[0][0] > 0 and known[0] > best_rank:
            best, best_rank = offer, known[0]
    return best


def _parsed(part: str) -> tuple[str, float]:
    name, *parameters = (word.strip().lower() for word in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return name, float(parameter[2:])
            except ValueError:
                return name, 0.0
    return name, 1.0
