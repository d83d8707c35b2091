"""The name of a labeler: a hash of everything that decides how it comes out, so that fitting twice is free."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from service.label_schema import LabelClass

_FORMAT = 1
"""Raised when what lies under `labelers/{fit key}/` changes its form or its meaning."""


def fit_key(
    generator: Mapping[str, str],
    seeds: Sequence[tuple[bytes, bytes]],
    classes: Sequence[LabelClass],
    settings: Mapping[str, Any],
) -> str:
    """The key of the labeler that these inputs lead to: 32 hexadecimal digits.

    `generator` maps the names of its files to their SHA-256, `seeds` are the bytes of image and mask in their order,
    `settings` is `FitSettings.fingerprint()`. Names and colours of the classes count because the labeler's report and
    sheet show them; the names of the seeds do not.
    """
    facts = {
        "format": _FORMAT,
        "generator": dict(generator),
        "seeds": [[hashlib.sha256(file).hexdigest() for file in seed] for seed in seeds],
        "classes": [[entry.name, entry.color] for entry in classes],
        "settings": dict(settings),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
