"""Every fault of `classes.csv` gets a clear answer, and leaves nothing behind."""

from typing import Any

import httpx

from service.stores import FileStore
from tests.service.spoiled_labels import CLASSES, LARGE, Fault, Files, Make, assert_told, each, without
from tests.service.uploads import classes_csv, labeled_files


def classes(old: str, new: str, **project: Any) -> Make:
    """The good `classes.csv` with `old` replaced by `new`."""

    def make() -> Files:
        assert old in classes_csv()
        return labeled_files(**project) | {CLASSES: classes_csv().replace(old, new).encode()}

    return make


def raw_classes(data: bytes, **project: Any) -> Make:
    return lambda: labeled_files(**project) | {CLASSES: data}


FAULTS: list[Fault] = [
    ("no file", without(CLASSES), CLASSES, "it is missing"),
    ("empty", raw_classes(b""), CLASSES, "it is empty"),
    ("latin-1", raw_classes(b"image,esp\xe8ce\n"), CLASSES, "not UTF-8"),
    ("large", raw_classes(LARGE), CLASSES, "larger than 1048576 bytes"),
    ("no column image", classes("image", "file"), CLASSES, "`image` and attributes are wanted"),
    ("image alone", raw_classes(b"image\nbear00\nbear01\n"), CLASSES, "`image` and attributes are wanted"),
    ("a column too many", raw_classes(b"image,species,looks,age\n"), CLASSES, "it has the columns age"),
    ("a column too few", raw_classes(b"image,species\n"), CLASSES, "it lacks the columns looks"),
    ("a column twice", classes("looks", "species"), CLASSES, "`species` is there twice"),
    ("unknown value", classes("panda", "grizzly"), CLASSES, "line 3: species has no value 'grizzly'"),
    ("other case", classes("panda", "Panda"), CLASSES, "species has no value 'Panda'"),
    ("unknown image", classes("bear01", "dog"), CLASSES, "line 3: no image is called 'dog'"),
    ("image twice", classes("bear01", "bear00.png"), CLASSES, "line 3: bear00 is there twice"),
    ("image missing", classes("bear01,panda,left\n", ""), CLASSES, "no row for bear01"),
    ("row too long", classes("panda,left", "panda,left,"), CLASSES, "line 3 has 4 cells, the header has 3"),
    ("quote open", classes("panda", '"panda'), CLASSES, "is not CSV"),
    ("column without values", raw_classes(b"image,species,looks\nbear00,koala,\nbear01,,\n"), CLASSES, "of looks"),
    ("one value only", classes("panda", "koala", attributes=None), CLASSES, "`species` has one value only, 'koala'"),
    ("no value", raw_classes(b"image,age\nbear00,\nbear01,\n", attributes=None), CLASSES, "`age` is empty"),
    ("column without name", classes("looks", "", attributes=None), CLASSES, "at least 1 character"),
    ("value of many letters", classes("panda", "p" * 65, attributes=None), CLASSES, "at most 64"),
    ("values alike", classes("panda", "KOALA", attributes=None), CLASSES, "is there twice"),
    ("control characters", classes("panda", "pan\x07da", attributes=None), CLASSES, "control characters"),
]  # fmt: skip


@each(FAULTS)
def test_bad_attributes_are_refused(
    api: httpx.Client, api_store: FileStore, make: Make, file: str | None, message: str
) -> None:
    assert_told(api, api_store, make, file, message)
