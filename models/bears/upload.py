"""Toy bears in the layout that `POST /projects` takes: images, masks and the project's description."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.bears.renderer import render
from models.bears.scene import PART_COLORS, PARTS

_FIXED_DATE = (2020, 1, 1, 0, 0, 0)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _palette_mask(mask: npt.NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(mask).convert("P")
    picture.putdata(mask.ravel().tolist())
    picture.putpalette([int(color[i : i + 2], 16) for color in PART_COLORS for i in (1, 3, 5)])
    return picture


def bear_files(
    count: int, first_seed: int = 0, size: int = 64, generator: str = "toy-bears"
) -> Iterator[tuple[str, bytes]]:
    """(path, content) of each file of an upload: `project.json`, then `images/` and `segmentation/` of each bear.

    Args:
        count: how many bears, with consecutive seeds from `first_seed`.
        size: pixels a side.
        generator: the id that the project names.
    """
    project = {
        "name": f"{count} toy bears",
        "generator": generator,
        "label_kinds": ["segmentation"],
        "classes": [{"name": name, "color": color} for name, color in zip(PARTS, PART_COLORS, strict=True)],
    }
    yield "project.json", json.dumps(project, indent=2).encode() + b"\n"
    renders = render(range(first_seed, first_seed + count), size)
    for seed, image, mask in zip(range(first_seed, first_seed + count), renders.images, renders.parts, strict=True):
        yield f"images/bear-{seed:05d}.png", _png(Image.fromarray(image))
        yield f"segmentation/bear-{seed:05d}.png", _png(_palette_mask(mask))


def write_upload(out: Path, files: Iterator[tuple[str, bytes]]) -> None:
    """Write an upload as a zip if `out` ends in `.zip`, else as a folder; the same bears give the same bytes."""
    if out.suffix == ".zip":
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = out.with_name(f".{out.name}.partial")
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            for name, content in files:
                archive.writestr(zipfile.ZipInfo(name, _FIXED_DATE), content)
        partial.replace(out)
        return
    for name, content in files:
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
