"""The pictures of a fit: every label kind is on the sheet, and the report's page shows good and bad as such."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.labels import ImageLabels
from service.label_schema import Attribute, DepthSchema, Keypoint, KeypointSchema, LabelClass, LabelSchema
from workers.report_page import report_png
from workers.sheet import SheetRow, sheet_png

CLASSES = [LabelClass(name="floor", color="#202020"), LabelClass(name="bear", color="#c08040")]
POINTS = KeypointSchema(points=[Keypoint(name="nose"), Keypoint(name="paw")], skeleton=[("nose", "paw")])
DEPTH = DepthSchema(scale=0.001, minimum=1.0, maximum=3.0)
SPECIES = [Attribute(name="species", values=["panda", "koala"])]
GREY = np.full((64, 64, 3), 128, np.uint8)


def pixels(png: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.int64)


def red(png: bytes) -> int:
    rgb = pixels(png)
    return int(((rgb[..., 0] > 180) & (rgb[..., 1:].max(axis=2) < 60)).sum())


def labels(species: int = 0) -> ImageLabels:
    return ImageLabels(
        mask=np.zeros((64, 64), np.uint8),
        keypoints=np.array([[10, 10, 2], [50, 40, 1]], np.float32),
        depth=np.full((64, 64), 2.0, np.float32),
        attributes=np.array([species]),
    )


def only_of(schema: LabelSchema, given: ImageLabels) -> ImageLabels:
    return ImageLabels(
        given.mask if schema.classes else None,
        given.keypoints if schema.keypoints else None,
        given.depth if schema.depth else None,
        given.attributes,
    )


def row(name: str = "seed", excluded: bool = False, predicted: int = 0) -> SheetRow:
    return SheetRow(name, GREY, labels(), GREY, labels(predicted), 21.5, 0.1, excluded)


EVERYTHING = LabelSchema(classes=CLASSES, keypoints=POINTS, depth=DEPTH, attributes=SPECIES)


def test_a_sheet_marks_seeds_left_out_in_red() -> None:
    only = LabelSchema(classes=CLASSES)
    masks = ImageLabels(mask=np.zeros((64, 64), np.uint8))
    good = SheetRow("good", GREY, masks, GREY, masks, 21.5, 0.1, False)
    bad = SheetRow("a name that is far too long for it", GREY, masks, GREY, masks, 21.5, 0.1, True)
    assert red(sheet_png([good], only)) == 0
    assert red(sheet_png([bad], only)) > 500


@pytest.mark.parametrize(
    ("schema", "given", "pictures"),
    [
        (LabelSchema(classes=CLASSES), ImageLabels(mask=labels().mask), 4),
        (LabelSchema(keypoints=POINTS), ImageLabels(keypoints=labels().keypoints), 4),
        (LabelSchema(attributes=SPECIES), ImageLabels(attributes=labels().attributes), 2),
        (EVERYTHING, labels(), 8),
    ],
)
def test_each_label_is_beside_its_prediction(schema: LabelSchema, given: ImageLabels, pictures: int) -> None:
    sheet = pixels(sheet_png([SheetRow("seed", GREY, given, GREY, given, 21.5, 0.1, False)], schema))
    assert sheet.shape[1] >= max(pictures * 128, 250)


@pytest.mark.parametrize(("seeds", "words"), [(1, "The seed and "), (2, "2 seeds and ")])
def test_a_title_counts_the_seeds(seeds: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    monkeypatch.setattr("workers.sheet.page", lambda title, *_: titles.append(title) or Image.new("RGB", (1, 1)))
    sheet_png([row()] * seeds, EVERYTHING)
    assert titles[0].startswith(words)


@pytest.mark.parametrize("kinds", [{"classes": CLASSES}, {"keypoints": POINTS, "classes": CLASSES, "depth": DEPTH}, {}])
def test_the_end_of_long_attributes_is_on_the_sheet(kinds: dict[str, Any]) -> None:
    def sheet(ending: str) -> bytes:
        values = [
            "what was said of it at length, and more of it to the end",
            f"what else it was taken for, {ending}",
        ]
        long = Attribute(name="species", values=values)
        schema = LabelSchema(**kinds, attributes=[long])
        given, told = (only_of(schema, labels(value)) for value in (0, 1))
        return sheet_png([SheetRow("seed", GREY, given, GREY, told, 21.5, 0.1, True)], schema)

    assert sheet("no less long, and ends like this") != sheet("no less long, and ends like that")


def test_a_prediction_that_is_another_value_is_told() -> None:
    same, other = (pixels(sheet_png([row(predicted=value)], EVERYTHING)) for value in (0, 1))
    assert same.shape == other.shape
    assert (same != other).any()


def report(score: float, errors: tuple[float, ...] = (0.3, 0.2, 0.1)) -> dict[str, Any]:
    shares = (0.0, 0.25, 0.5)
    curve = [{"discarded": share, "error": error, "oracle": 0.1} for share, error in zip(shares, errors, strict=True)]
    return {
        "seeds": [{"index": 0, "included": True, "reason": None}],
        "advice": ["Do more of this. " * 20],
        "held_out": {
            "folds": 4,
            "seeds": 1,
            "segmentation": {
                "mean_iou": score,
                "class_iou": {"floor": score, "a class with a name far too long to be shown": None},
                "reliability": {"bins": [{"confidence": 0.9, "right": 0.8, "count": 10}]},
            },
            "keypoints": {"alpha": 0.1, "pck": score, "point_pck": {"nose": score}},
            "depth": {"rmse": 0.1, "abs_rel": 0.05},
            "class": {"species": {"accuracy": score, "confused": [{"truth": "a", "predicted": "b", "share": 0.2}]}},
            "risk_coverage": {"segmentation": {"curve": curve}},
        },
    }


def test_the_report_shows_low_figures_in_red() -> None:
    assert red(report_png(report(0.95), ["seed"])) == 0
    assert red(report_png(report(0.3), ["seed"])) > 1000


def test_the_report_shows_what_discarding_brings() -> None:
    falling, level = (pixels(report_png(report(0.95, errors), ["seed"])) for errors in ((0.3, 0.2, 0.1), (0.3,) * 3))
    assert falling.shape == level.shape
    assert (falling != level).any()


def test_the_report_has_room_for_long_names_that_are_mistaken() -> None:
    def mistaken(name: str) -> bytes:
        told = report(0.95)
        told["held_out"]["class"]["species"]["confused"] = [{"truth": "W" * 64, "predicted": name, "share": 0.2}]
        return report_png(told, ["seed"])

    assert mistaken("M" * 63) != mistaken("M" * 64)


def test_a_report_without_a_cross_validation_names_the_seeds_that_invert_badly() -> None:
    bad = {"seeds": [{"index": 0, "included": False, "reason": "its reconstruction reaches 9.0 dB PSNR"}], "advice": []}
    good = {"seeds": [{"index": 0, "included": True, "reason": None}], "advice": [], "held_out": None}
    assert red(report_png(bad, ["seed"])) > red(report_png(good, ["seed"])) == 0
