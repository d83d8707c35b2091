"""The name of a labeler: a hash of everything that decides how it comes out, so that fitting twice is free."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from service.label_schema import LabelSchema

_FORMAT = 4
"""Raised when what lies under `labelers/{fit key}/` changes its form or its meaning."""


def fit_key(
    generator: Mapping[str, str],
    seeds: Sequence[Sequence[bytes]],
    forced: Sequence[bool],
    schema: LabelSchema,
    settings: Mapping[str, Any],
) -> str:
    """The key of the labeler that these inputs lead to: 32 hexadecimal digits.

    `generator` maps the names of its files to their SHA-256, `seeds` are the bytes of each seed's image and labels in
    their order, `forced` says of each whether it is forced into the fit, `settings` is `FitSettings.fingerprint()`. All
    of the label schema counts, names and colours too, because the labeler's report and sheet show them; the names of
    the seeds do not.
    """
    facts = {
        "format": _FORMAT,
        "generator": dict(generator),
        "seeds": [[hashlib.sha256(file).hexdigest() for file in seed] for seed in seeds],
        "forced": list(forced),
        "labels": schema.only_labels().model_dump(mode="json"),
        "settings": dict(settings),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
