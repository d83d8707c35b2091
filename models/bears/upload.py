"""Toy bears in the layout that `POST /projects` takes: images, their labels, and the project's description."""

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.bears.renderer import render
from models.bears.scene import KEYPOINT_MIRROR, KEYPOINTS, PART_COLORS, PARTS, SPECIES

KINDS = ("segmentation", "keypoints", "depth", "class")
"""The label kinds that a bear has."""

DEPTH_SCALE = 0.000125
"""Scene units of one step of a 16-bit depth pixel: it reaches to 8.19, and no wall is further away than 7.2."""

SKELETON = (
    ("left_ear", "left_eye"), ("right_ear", "right_eye"), ("left_eye", "right_eye"), ("left_eye", "nose"),
    ("right_eye", "nose"), ("nose", "left_paw"), ("nose", "right_paw"), ("left_paw", "left_foot"),
    ("right_paw", "right_foot"), ("left_foot", "right_foot"),
)  # fmt: skip
"""Keypoints that a drawing joins."""

_FIXED_DATE = (2020, 1, 1, 0, 0, 0)
_RENDERED_AT_ONCE = 64


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _palette_mask(mask: npt.NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(mask).convert("P")
    picture.putdata(mask.ravel().tolist())
    picture.putpalette([int(color[i : i + 2], 16) for color in PART_COLORS for i in (1, 3, 5)])
    return picture


def _depth_png(depth: npt.NDArray[np.float32]) -> bytes:
    return _png(Image.fromarray(np.rint(depth.astype(np.float64) / DEPTH_SCALE).astype(np.uint16)))


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"


def _project(count: int, generator: str, kinds: Sequence[str]) -> dict[str, Any]:
    points = [
        {"name": name} if mirror == index else {"name": name, "mirror": KEYPOINTS[mirror]}
        for index, (name, mirror) in enumerate(zip(KEYPOINTS, KEYPOINT_MIRROR, strict=True))
    ]
    labels: dict[str, dict[str, Any]] = {
        "segmentation": {"classes": [{"name": n, "color": c} for n, c in zip(PARTS, PART_COLORS, strict=True)]},
        "keypoints": {"keypoints": {"points": points, "skeleton": SKELETON}},
        "depth": {"depth": {"unit": "scene unit", "scale": DEPTH_SCALE}},
        "class": {"attributes": [{"name": "species", "values": SPECIES}]},
    }
    project: dict[str, Any] = {"name": f"{count} toy bears", "generator": generator}
    for kind in kinds:
        project |= labels[kind]
    return project


def _annotation(number: int, keypoints: npt.NDArray[np.float32]) -> dict[str, Any]:
    """One bear in COCO's way: points outside the image are 0, 0, 0."""
    rows = [[round(float(x), 4), round(float(y), 4), int(v)] if v else [0, 0, 0] for x, y, v in keypoints]
    flat = [value for row in rows for value in row]
    return {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "keypoints": flat}


def _coco(names: Sequence[str], annotations: list[dict[str, Any]], size: int) -> dict[str, Any]:
    images = [
        {"id": number, "file_name": f"{name}.png", "width": size, "height": size}
        for number, name in enumerate(names, start=1)
    ]
    skeleton = [[KEYPOINTS.index(end) + 1 for end in line] for line in SKELETON]
    category = {"id": 1, "name": "bear", "keypoints": KEYPOINTS, "skeleton": skeleton}
    return {"images": images, "annotations": annotations, "categories": [category]}


def bear_files(
    count: int,
    first_seed: int = 0,
    size: int = 64,
    generator: str = "toy-bears",
    kinds: Sequence[str] = KINDS,
) -> Iterator[tuple[str, bytes]]:
    """(path, content) of each file of an upload: `project.json`, `images/` and the labels of `kinds`.

    These are `segmentation/`, `depth/` (16-bit PNG), `keypoints.json` (as COCO) and `classes.csv` (the species).

    Args:
        count: how many bears, with consecutive seeds from `first_seed`.
        size: pixels a side.
        generator: the id that the project names.
        kinds: of `KINDS`, at least one.

    Raises `ValueError` for another kind, or none.
    """
    if not kinds or set(kinds) - set(KINDS):
        raise ValueError(f"label kinds are some of {', '.join(KINDS)}")
    return _files(count, first_seed, size, generator, kinds)


def _files(count: int, first_seed: int, size: int, generator: str, kinds: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    yield "project.json", _json(_project(count, generator, kinds))
    names: list[str] = []
    annotations: list[dict[str, Any]] = []
    species: list[str] = []
    for start in range(first_seed, first_seed + count, _RENDERED_AT_ONCE):
        seeds = range(start, min(start + _RENDERED_AT_ONCE, first_seed + count))
        renders = render(seeds, size)
        for index, seed in enumerate(seeds):
            name = f"bear-{seed:05d}"
            names.append(name)
            annotations.append(_annotation(len(names), renders.keypoints[index]))
            species.append(SPECIES[renders.species[index]])
            yield f"images/{name}.png", _png(Image.fromarray(renders.images[index]))
            if "segmentation" in kinds:
                yield f"segmentation/{name}.png", _png(_palette_mask(renders.parts[index]))
            if "depth" in kinds:
                yield f"depth/{name}.png", _depth_png(renders.depth[index])
    if "keypoints" in kinds:
        yield "keypoints.json", _json(_coco(names, annotations, size))
    if "class" in kinds:
        rows = [("image", "species"), *zip(names, species, strict=True)]
        yield "classes.csv", "".join(f"{name},{value}\r\n" for name, value in rows).encode()


def write_upload(out: Path, files: Iterator[tuple[str, bytes]]) -> None:
    """Write an upload as a zip if `out` ends in `.zip`, else as a folder; the same bears give the same bytes."""
    if out.suffix == ".zip":
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = out.with_name(f".{out.name}.partial")
        try:
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
                for name, content in files:
                    archive.writestr(zipfile.ZipInfo(name, _FIXED_DATE), content)
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
        return
    for name, content in files:
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
