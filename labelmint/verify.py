"""Proves that a downloaded dataset is whole, by loading everything in it."""

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Row = dict[str, Any]

_IGNORED = 255
_IMAGE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}


class DatasetBroken(Exception):
    """A dataset is not what it should be; the message says where."""


@dataclass(frozen=True)
class ClassShare:
    """How much of a dataset is one class, as counted from its masks."""

    name: str
    color: str
    share_of_pixels: float
    share_of_samples: float


@dataclass(frozen=True)
class Contents:
    """What was found in a dataset."""

    samples: int
    """Generated ones. What follows is about these."""
    size: tuple[int, int]
    """width, height"""
    classes: list[ClassShare]
    mean_uncertainty: float
    seeds: int
    """Seeds beside the samples."""


def verify_png_zip(path: Path, count: int) -> Contents:
    """Load every picture and metadata line of a `png` zip. Raises `DatasetBroken` unless all of them fit together.

    Checked: `count` generated samples with the indices 0 … count − 1, and behind them, marked and in `train`, as many
    seeds as dataset.json names; pictures of one size, images RGB, masks 8-bit, depth 16-bit; every mask value is a
    class or ignored, and each line's coverage is the mask's; as many keypoints as there are names, those that are known
    inside of the image; attributes with values that there are; no file that no line names.
    """
    try:
        return _verified(path, count)
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, OSError) as damage:
        raise DatasetBroken(str(damage)) from damage


def _verified(path: Path, count: int) -> Contents:
    with zipfile.ZipFile(path) as archive:
        facts = json.loads(archive.read("dataset.json"))
        lines = archive.read("metadata.jsonl").decode().splitlines()
        seeds = len(facts.get("included_seeds", []))
        told = f"{len(lines)} metadata lines, a count of {facts['count']}, and {seeds} seeds"
        _expect((len(lines), facts["count"]) == (count + seeds, count), told)
        files, uncertainty = {"dataset.json", "metadata.jsonl", "README.md", "preview.png"}, 0.0
        pixels, samples = (np.zeros(len(facts["classes"]), np.int64) for _ in range(2))
        sample = _Sample(archive, facts)
        for index, line in enumerate(lines):
            row = json.loads(line)
            _expect(row["index"] == index, f"line {index} is about sample {row['index']}")
            counts = sample.check(row)
            if index < count:
                pixels += counts
                samples += counts > 0
                uncertainty += row["uncertainty"]
            _check_origin(row, None if index < count else index - count)
            files |= {name for column, name in row.items() if column.endswith("file_name")}
        _expect(set(archive.namelist()) == files, "there are files that no metadata line names")
        _expect(len(archive.namelist()) == len(files), "a file occurs twice")
    shares = [
        ClassShare(entry["name"], entry["color"], int(area) / max(1, int(pixels.sum())), int(seen) / count)
        for entry, area, seen in zip(facts["classes"], pixels, samples, strict=True)
    ]
    return Contents(count, sample.size, shares, uncertainty / count, seeds)


def _check_origin(row: Row, seed: int | None) -> None:
    """seed: which one it is to be, or None for a generated sample."""
    name, part = row["file_name"], row["split"]
    origin, stem = ("generated", f"{row['index']:09d}") if seed is None else ("seed", f"seed_{seed:04d}")
    _expect((row["origin"], Path(name).stem) == (origin, stem), f"{name} is marked as {row['origin']}")
    _expect(seed is None or part == "train", f"{name} is in {part}")


class _Sample:
    """What every sample of a dataset has to be like."""

    def __init__(self, archive: zipfile.ZipFile, facts: Row) -> None:
        self._archive = archive
        self.size = (facts["resolution"], facts["resolution"])
        self._classes = [entry["name"] for entry in facts["classes"]]
        self._points = len(facts.get("keypoints", {}).get("points", []))
        self._has_depth = "depth" in facts
        self._values = {entry["name"]: [*entry["values"], None] for entry in facts.get("attributes", [])}

    def check(self, row: Row) -> npt.NDArray[np.int64]:
        """The pixels of each class in one sample, when everything about it is right."""
        name = row["file_name"]
        with Image.open(io.BytesIO(self._archive.read(name))) as image:
            image.load()
            _expect(image.format == _IMAGE_FORMATS.get(Path(name).suffix), f"{name} is a {image.format} file")
            _expect((image.mode, image.size) == ("RGB", self.size), f"{name} is {image.mode} {image.size}")
        if self._has_depth:
            self._picture(row["depth_file_name"], "I;16")
        self._check_points(row)
        for attribute, value in row.get("attributes", {}).items():
            _expect(value in self._values[attribute], f"{name} has no such {attribute}: {value}")
        _expect(row.get("attributes", {}).keys() == self._values.keys(), f"{name} lacks an attribute")
        return self._check_mask(row) if self._classes else np.zeros(0, np.int64)

    def _check_mask(self, row: Row) -> npt.NDArray[np.int64]:
        name = row["mask_file_name"]
        values = np.bincount(self._picture(name, "P").ravel(), minlength=256)
        values[_IGNORED] = 0
        counts = values[: len(self._classes)]
        _expect(not values[len(self._classes) :].any(), f"{name} has a value that is no class")
        said = [row["coverage"][entry] for entry in self._classes]
        _expect(np.allclose(counts / max(1, counts.sum()), said, atol=1e-5), f"the coverage of {name} is wrong")
        return counts

    def _check_points(self, row: Row) -> None:
        name, points = row["file_name"], row.get("keypoints", [])
        _expect(len(points) == self._points, f"{name} has {len(points)} keypoints")
        width, height = self.size
        for x, y, visibility in points:
            _expect(visibility in (0, 1, 2), f"{name} has a keypoint of visibility {visibility}")
            _expect(not visibility or (0 <= x <= width and 0 <= y <= height), f"{name} has a keypoint at {x}, {y}")

    def _picture(self, name: str, mode: str) -> npt.NDArray[np.uint16]:
        with Image.open(io.BytesIO(self._archive.read(name))) as picture:
            _expect((picture.mode, picture.size) == (mode, self.size), f"{name} is {picture.mode} {picture.size}")
            return np.asarray(picture, np.uint16)


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise DatasetBroken(otherwise)
