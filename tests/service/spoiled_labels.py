"""Uploads for tests whose labels are spoiled, and what their refusal must be like."""

from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.stores import FileStore
from tests.service.uploads import assert_refused, labeled_files, png, post_zip, zipped

Files = dict[str, bytes]
Make = Callable[[], Files]
Fault = tuple[str, Make, str | None, str]
"""What is wrong in a word, an upload with it, the file that is to be named, and words of the message."""

JSON, CSV, CLASSES = "keypoints.json", "keypoints.csv", "classes.csv"
DEPTH, NPY = "depth/bear00.png", "depth/bear00.npy"
LARGE = np.random.default_rng(0).bytes(2**21).hex().encode() + b" "
"""More bytes than a file of words may have."""
FLOAT = np.full((64, 64), 2.5, np.float32)
EIGHT_BITS = png(Image.fromarray(np.full((64, 64), 9, np.uint8)))


def without(*paths: str, **project: Any) -> Make:
    """The good upload, of all four label kinds, without these files."""
    return lambda: {path: data for path, data in labeled_files(**project).items() if path not in paths}


def project(**changes: Any) -> Make:
    """The good upload with other fields in its `project.json`."""
    return lambda: labeled_files(**changes)


def each(faults: list[Fault]) -> pytest.MarkDecorator:
    """Runs a test for each fault, which it takes as `make`, `file` and `message`."""
    cases = [pytest.param(*fault[1:], id=fault[0]) for fault in faults]
    return pytest.mark.parametrize(("make", "file", "message"), cases)


def assert_told(api: httpx.Client, store: FileStore, make: Make, file: str | None, message: str) -> None:
    """The upload is refused and leaves nothing behind; each error has a place and a remedy."""
    errors = assert_refused(post_zip(api, zipped(make())), store, file, message)
    assert all(error["remedy"] for error in errors), errors
    assert all(error["file"] or error["field"] for error in errors), errors
    assert len(errors) <= 110
