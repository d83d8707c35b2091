"""Uploads for tests: good ones, and every way to spoil them."""

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
from PIL import Image

CLASSES = [{"name": "background", "color": "#000000"}, {"name": "bear"}, {"name": "ears"}]
PROJECT: dict[str, Any] = {"name": "Bears", "generator": "toy", "classes": CLASSES}


def image_bytes(size: tuple[int, int] = (64, 64), mode: str = "RGB", kind: str = "PNG", **options: Any) -> bytes:
    """An image of noise, `size` being width and height."""
    noise = np.random.default_rng(sum(size)).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise, "RGBA").convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def mask_bytes(size: tuple[int, int] = (64, 64), values: int = 3, **places: Any) -> bytes:
    """A mask whose values run through 0…`values` - 1."""
    width, height = size
    array = (np.arange(width * height) % values).astype(np.uint8).reshape(height, width)
    return png(Image.fromarray(array), **places)


def png(image: Image.Image, **options: Any) -> bytes:
    """The image as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def good_files(count: int = 2) -> dict[str, bytes]:
    """A valid upload."""
    files = {"project.json": json.dumps(PROJECT).encode()}
    for number in range(count):
        files[f"images/bear{number:02d}.png"] = image_bytes()
        files[f"segmentation/bear{number:02d}.png"] = mask_bytes()
    return files


def zipped(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def post_zip(api: httpx.Client, data: bytes, project: Mapping[str, Any] | None = None) -> httpx.Response:
    """Upload one zip."""
    fields = {"project": json.dumps(project)} if project is not None else {}
    return api.post("/projects", files={"archive": ("seeds.zip", data, "application/zip")}, data=fields)


def post_files(api: httpx.Client, files: Mapping[str, bytes]) -> httpx.Response:
    """Upload single files, `project.json` as the part `project`."""
    parts: list[tuple[str, tuple[str | None, bytes]]] = []
    if "project.json" in files:
        parts.append(("project", (None, files["project.json"])))
    parts += [("files", (path, data)) for path, data in files.items() if path != "project.json"]
    return api.post("/projects", files=parts)
