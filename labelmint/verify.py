"""Proves that a downloaded dataset is whole, by loading everything in it."""

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


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
    size: tuple[int, int]
    """width, height"""
    classes: list[ClassShare]
    mean_uncertainty: float


def verify_png_zip(path: Path, count: int) -> Contents:
    """Load every image, mask and metadata line of a `png` zip. Raises `DatasetBroken` unless all of them fit together.

    Checked: `count` samples with the indices 0 … count − 1; images RGB and masks 8-bit, all of one size; every mask
    value is a class; each line's coverage is the mask's.
    """
    try:
        return _verified(path, count)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as damage:
        raise DatasetBroken(str(damage)) from damage


def _verified(path: Path, count: int) -> Contents:
    with zipfile.ZipFile(path) as archive:
        facts = json.loads(archive.read("dataset.json"))
        names = [entry["name"] for entry in facts["classes"]]
        lines = archive.read("metadata.jsonl").decode().splitlines()
        _expect(len(lines) == count == facts["count"], f"{len(lines)} metadata lines and a count of {facts['count']}")
        size = (facts["resolution"], facts["resolution"])
        files, uncertainty = {"dataset.json", "metadata.jsonl", "README.md", "preview.png"}, 0.0
        pixels, samples = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
        for index, line in enumerate(lines):
            row = json.loads(line)
            _expect(row["index"] == index, f"line {index} is about sample {row['index']}")
            counts = _check_sample(archive, row, size, names)
            pixels += counts
            samples += counts > 0
            uncertainty += row["uncertainty"]
            files |= {row["file_name"], row["mask_file_name"]}
        _expect(set(archive.namelist()) == files, "there are files that no metadata line names")
        _expect(len(archive.namelist()) == len(files), "a file occurs twice")
    shares = [
        ClassShare(entry["name"], entry["color"], int(area) / int(pixels.sum()), int(seen) / count)
        for entry, area, seen in zip(facts["classes"], pixels, samples, strict=True)
    ]
    return Contents(count, size, shares, uncertainty / count)


def _check_sample(
    archive: zipfile.ZipFile, row: dict[str, Any], size: tuple[int, int], names: list[str]
) -> "np.ndarray[Any, np.dtype[np.int64]]":
    with Image.open(io.BytesIO(archive.read(row["file_name"]))) as image:
        image.load()
        _expect((image.mode, image.size) == ("RGB", size), f"{row['file_name']} is {image.mode} {image.size}")
    with Image.open(io.BytesIO(archive.read(row["mask_file_name"]))) as mask:
        _expect((mask.mode, mask.size) == ("P", size), f"{row['mask_file_name']} is {mask.mode} {mask.size}")
        counts = np.bincount(np.asarray(mask).ravel(), minlength=len(names))
    _expect(len(counts) == len(names), f"{row['mask_file_name']} has a value that is no class")
    said = [row["coverage"][name] for name in names]
    _expect(np.allclose(counts / counts.sum(), said, atol=1e-5), f"the coverage of {row['mask_file_name']} is wrong")
    return counts


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise DatasetBroken(otherwise)
