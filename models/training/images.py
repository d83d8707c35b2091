"""The images a generator is trained on: checked, cut to size, and kept on disk as one uint8 array."""

import hashlib
import json
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.training.sources import ImageSource, SourceRefused, open_source
from models.whole_file import partial_of, written_whole
from untrusted.pictures import PictureRefused
from untrusted.reading import Picture, read_picture

Fit = Literal["crop", "random-crop", "stretch"]

FORMATS = ("PNG", "JPEG", "WEBP")
"""Of pictures, by Pillow's names."""

MAX_PIXELS = 64_000_000
"""Of a picture, by its header."""

MINIMUM = 100
"""Fewer images than this teach a generator nothing but themselves."""

LISTED = 1_000
"""Files that a report names; of more it gives the number."""

RESERVE_BYTES = 2**30
"""Of the disk, for the checkpoints of the training and for everything else that is on it."""

_MOST_CROPS = 8
_LAYOUT = 1


@dataclass(frozen=True)
class Rejection:
    """file: its name in the source. reason, remedy: clauses for a sentence."""

    file: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}; {self.remedy}"


@dataclass
class PreparationReport:
    """What became of the files of a source.

    images: how many there are to train on. files: pictures by their suffix. ignored: other files. rejected, duplicates:
    the first `LISTED` of those left out, a duplicate with the file that it repeats; rejected_count, duplicate_count:
    all. smallest_side: pixels, of all pictures taken. enlarged: pictures smaller than the resolution. notes: what was
    done to pictures, and to how many.
    """

    images: int = 0
    files: int = 0
    ignored: int = 0
    rejected: list[Rejection] = field(default_factory=list)
    rejected_count: int = 0
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    duplicate_count: int = 0
    smallest_side: int = 0
    enlarged: int = 0
    notes: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "PreparationReport":
        """Undoes `dataclasses.asdict` and JSON."""
        rejected = [Rejection(**r) for r in values["rejected"]]
        duplicates = [(str(a), str(b)) for a, b in values["duplicates"]]
        return PreparationReport(**(values | {"rejected": rejected, "duplicates": duplicates}))


@dataclass(frozen=True)
class TrainingImages:
    """pixels: (N, R, R, 3) uint8, mapped from disk: memory does not grow with N. path: the file; what is measured of
    the images is kept beside it. report: None for renders."""

    pixels: npt.NDArray[np.uint8]
    path: Path
    report: PreparationReport | None


class TooFewImages(SourceRefused):
    """The message names every file that was refused, and why; so does `report`."""

    def __init__(self, message: str, report: PreparationReport) -> None:
        super().__init__(message)
        self.report = report


def prepare_images(
    source: Path,
    resolution: int,
    fit: Fit,
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
    minimum: int = MINIMUM,
) -> TrainingImages:
    """Check every picture of a folder or zip, and keep those that are sound in `cache`.

    A second call with the same files, resolution and fit finds what the first one made. Pictures that show the same
    pixels are taken once. One process at a time: hold the run's folder.

    Args:
        fit: how a picture becomes a square. `crop`: its centre. `random-crop`: up to eight squares from anywhere in
            it, each at least `resolution` wide if it is, for textures and scenes without a centre. `stretch`: all of
            it, its proportions lost.
        progress: called with files done and files in all; may raise to stop, and then nothing is kept.

    Raises:
        SourceRefused: nothing can be read there, or the disk has no room for the squares.
        TooFewImages: fewer than `minimum` images are sound.
        ValueError: no such fit.
        OSError: the cache cannot be written.
    """
    if fit not in get_args(Fit):
        raise ValueError(f"fit {fit!r}: must be {', '.join(get_args(Fit))}")
    files = open_source(source)
    key = hashlib.sha256(f"{_LAYOUT} {resolution} {fit} {files.key()}".encode()).hexdigest()[:16]
    path, facts = cache / f"images-{key}.u8", cache / f"images-{key}.json"
    report = _prepared(path, facts, resolution)
    if report is None:
        cache.mkdir(parents=True, exist_ok=True)
        for left in (path, partial_of(path)):  # by a preparation that was killed
            left.unlink(missing_ok=True)
        _refuse_without_room(source, _most_squares(len(files.names), fit), resolution, cache)
        report = _write(files, resolution, fit, path, progress)
        if report.images < minimum:
            path.unlink(missing_ok=True)
            raise TooFewImages(_too_few(source, report, minimum), report)
        with written_whole(facts) as file:
            file.write(f"{json.dumps(asdict(report), indent=2)}\n".encode())
    pixels = np.memmap(path, np.uint8, "r", shape=(report.images, resolution, resolution, 3))
    return TrainingImages(pixels, path, report)


def _prepared(path: Path, facts: Path, side: int) -> PreparationReport | None:
    """What an earlier preparation reported of the squares in `path`; None if they are not there, or not all of them."""
    try:
        report = PreparationReport.from_dict(json.loads(facts.read_text()))
        whole = path.stat().st_size == report.images * side**2 * 3
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return report if whole else None


def _most_squares(files: int, fit: Fit) -> int:
    return files * (_MOST_CROPS if fit == "random-crop" else 1)


def _refuse_without_room(source: Path, images: int, side: int, cache: Path) -> None:
    """A picture of a few hundred bytes may fill a square of megabytes, so what is sent bounds nothing."""
    needed = images * side**2 * 3
    free = max(0, shutil.disk_usage(cache).free - RESERVE_BYTES)
    if needed > free:
        raise SourceRefused(
            f"{source}: {images} squares of {side} x {side} pixels may take {needed} bytes of disk, and {free} are "
            "free for them; take fewer images or a lower resolution, or free some disk"
        )


def _too_few(source: Path, report: PreparationReport, minimum: int) -> str:
    message = f"{source}: {report.images} images to train on, and {minimum} are the least"
    if report.files == 0:
        return f"{message}; put PNG, JPEG or WebP pictures there"
    if report.rejected:
        message += "; refused were: " + " | ".join(map(str, report.rejected))
        if report.rejected_count > len(report.rejected):
            message += f" | and {report.rejected_count - len(report.rejected)} more"
    return f"{message}; {report.duplicate_count} were duplicates" if report.duplicate_count else message


def _write(
    files: ImageSource,
    resolution: int,
    fit: Fit,
    path: Path,
    progress: Callable[[int, int], None] | None,
) -> PreparationReport:
    """Write every sound picture's squares to `path`, whole or not at all."""
    preparation = _Preparation(resolution, fit, len(files.names), files.ignored)
    with written_whole(path) as out:
        for done, name in enumerate(files.names, start=1):
            preparation.take(name, files, out)
            if progress:
                progress(done, len(files.names))
    return preparation.finish()


class _Preparation:
    """Takes picture after picture, and keeps the account."""

    def __init__(self, resolution: int, fit: Fit, files: int, ignored: int) -> None:
        self.resolution, self.fit = resolution, fit
        self.report = PreparationReport(files=files, ignored=ignored)
        self.notes: Counter[str] = Counter()
        # Eight bytes for each picture are all that is remembered of it, beside its name.
        self.seen: dict[bytes, str] = {}

    def take(self, name: str, files: ImageSource, out: BinaryIO) -> None:
        try:
            data = files.read(name)
            picture = read_picture(data, FORMATS, MAX_PIXELS, self.resolution)
            short = min(picture.size)
            if 2 * short < self.resolution:
                raise PictureRefused(
                    f"it is {picture.size[0]} x {picture.size[1]} pixels", f"{self.resolution} a side are wanted"
                )
        except PictureRefused as refusal:
            self.report.rejected_count += 1
            if len(self.report.rejected) < LISTED:
                self.report.rejected.append(Rejection(name, *refusal.args))
            return
        squares = list(_squares(picture, self.resolution, self.fit, zlib.crc32(data)))
        digest = hashlib.blake2b(b"".join(s.tobytes() for s in squares), digest_size=8).digest()
        if digest in self.seen:
            self.report.duplicate_count += 1
            if len(self.report.duplicates) < LISTED:
                self.report.duplicates.append((name, self.seen[digest]))
            return
        self.seen[digest] = name
        for square in squares:
            out.write(square.tobytes())
        self.report.images += len(squares)
        self.report.enlarged += short < self.resolution
        self.report.smallest_side = min(self.report.smallest_side or short, short)
        self.notes.update(picture.notes)

    def finish(self) -> PreparationReport:
        self.report.notes = dict(self.notes)
        return self.report


def _squares(picture: Picture, side: int, fit: Fit, seed: int) -> Iterator[npt.NDArray[np.uint8]]:
    """(side, side, 3) each. `seed` is the file's own, so that the same file gives the same squares."""
    image = picture.image
    if fit == "stretch":
        boxes = [(0.0, 0.0, float(image.width), float(image.height))]
    elif fit == "crop":
        boxes = [_box(image, min(image.size), 0.5, 0.5)]
    else:
        random = np.random.default_rng(seed)
        short = min(image.size)
        crops = min(_MOST_CROPS, max(1, image.width * image.height // side**2))
        sides = random.uniform(min(side, short), short, crops)
        boxes = [_box(image, length, *random.random(2)) for length in sides]
    for box in boxes:
        yield np.asarray(image.resize((side, side), Image.Resampling.LANCZOS, box=box))


def _box(image: Image.Image, length: float, x: float, y: float) -> tuple[float, float, float, float]:
    """A square of that length, at the share x of the room to its left and right, and y of that above and below."""
    left, top = (image.width - length) * x, (image.height - length) * y
    return (left, top, left + length, top + length)
