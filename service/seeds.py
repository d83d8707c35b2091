"""Checking the seeds of an upload: every file, every fault, in one go."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.fitting import fit_image, fit_mask, plan_fitting
from service.images import ImageRefused, read_image, read_mask
from service.label_schema import LabelClass
from service.problems import Complaint
from service.project_spec import FILE as PROJECT_FILE
from service.records import SeedRecord
from service.uploads import UploadDamaged, UploadedFile, shown

FOLDERS = frozenset({"images", "segmentation"})

_IMAGE = re.compile(r"images/([^/]+)\.(png|jpg|jpeg)", re.IGNORECASE)
_MASK = re.compile(r"segmentation/([^/]+)\.png", re.IGNORECASE)
_VALUES_LISTED = 5
_LAYOUT = "send images/NAME.png or .jpg, segmentation/NAME.png and project.json"


@dataclass(frozen=True, slots=True)
class SeedLimits:
    """How much a project may hold."""

    seeds: int
    image_pixels: int


@dataclass(frozen=True, slots=True)
class Seed:
    """One seed ready to be stored: its record, and its files as PNG at the generator's size."""

    record: SeedRecord
    image: bytes
    segmentation: bytes


def check_seeds(
    files: Sequence[UploadedFile],
    limits: SeedLimits,
    classes: Sequence[LabelClass] | None,
    resolution: int | None,
) -> tuple[list[Seed], list[Complaint]]:
    """The seeds among `files`, in the order of their names, fitted to `resolution`; and all that is wrong with them.

    Without `classes` or `resolution`, which an invalid `project.json` leaves unknown, what can be checked is checked
    and no seeds are returned. Any complaint means that the seeds must not be used.
    """
    images, masks, complaints = _sorted_out(files)
    complaints += _counted(images, limits)
    for name in images.keys() - masks.keys():
        path = shown(images[name].path)
        complaints.append(
            Complaint(
                file=path, message="it has no mask", remedy=f"add segmentation/{shown(name)}.png, or leave it out"
            )
        )
    for name in masks.keys() - images.keys():
        path = shown(masks[name].path)
        complaints.append(
            Complaint(file=path, message="it has no image", remedy=f"add images/{shown(name)}.png, or leave it out")
        )
    seeds = []
    # A refused number of images is not decoded: that would let anyone buy hours of work with one upload.
    if len(images) <= limits.seeds:
        for index, name in enumerate(sorted(images.keys() | masks.keys())):
            seed, wrong = _check_seed(index, name, images.get(name), masks.get(name), limits, classes, resolution)
            complaints += wrong
            if seed is not None:
                seeds.append(seed)
    return seeds, sorted(complaints, key=lambda complaint: complaint.file or "")


def _sorted_out(
    files: Sequence[UploadedFile],
) -> tuple[dict[str, UploadedFile], dict[str, UploadedFile], list[Complaint]]:
    images: dict[str, UploadedFile] = {}
    masks: dict[str, UploadedFile] = {}
    complaints = []
    for file in files:
        if match := _IMAGE.fullmatch(file.path):
            home = images
        elif match := _MASK.fullmatch(file.path):
            home = masks
        else:
            if file.path != PROJECT_FILE:
                message = "it is neither an image nor a mask nor project.json"
                complaints.append(Complaint(file=shown(file.path), message=message, remedy=_LAYOUT))
            continue
        first = home.setdefault(match[1], file)
        # Twins by the whole path are told of where the upload is read.
        if first.path.casefold() != file.path.casefold():
            message = f"it has the same NAME as {shown(first.path)}"
            complaints.append(Complaint(file=shown(file.path), message=message, remedy="give each seed its own NAME"))
    return images, masks, complaints


def _counted(images: dict[str, UploadedFile], limits: SeedLimits) -> list[Complaint]:
    if not images:
        return [Complaint(field="files", message="there are no images", remedy=_LAYOUT)]
    if len(images) > limits.seeds:
        message = f"{len(images)} images are more than {limits.seeds}"
        return [Complaint(field="files", message=message, remedy=f"choose the {limits.seeds} most different ones")]
    return []


def _check_seed(
    index: int,
    name: str,
    image_file: UploadedFile | None,
    mask_file: UploadedFile | None,
    limits: SeedLimits,
    classes: Sequence[LabelClass] | None,
    resolution: int | None,
) -> tuple[Seed | None, list[Complaint]]:
    complaints: list[Complaint] = []
    image, mask, notes = None, None, list[str]()
    if image_file is not None:
        try:
            with image_file.open() as stream:
                image, notes = read_image(stream, limits.image_pixels)
        except (ImageRefused, UploadDamaged) as error:
            complaints.append(_refusal(image_file, error))
    if mask_file is not None:
        try:
            with mask_file.open() as stream:
                mask = read_mask(stream, limits.image_pixels)
            complaints += _strange_values(mask_file, mask, classes)
        except (ImageRefused, UploadDamaged) as error:
            complaints.append(_refusal(mask_file, error))
    if image is None or mask is None or mask_file is None:
        return None, complaints
    if image.size != mask.shape[::-1]:
        complaints.append(_size_complaint(mask_file, mask, image.size, turned="EXIF orientation was applied" in notes))
    if complaints or classes is None or resolution is None:
        return None, complaints
    return _fitted(index, name, image, mask, notes, classes, resolution), []


def _refusal(file: UploadedFile, error: ImageRefused | UploadDamaged) -> Complaint:
    message, *remedy = error.args
    return Complaint(file=shown(file.path), message=message, remedy=remedy[0] if remedy else "make the upload anew")


def _strange_values(
    file: UploadedFile, mask: npt.NDArray[np.uint8], classes: Sequence[LabelClass] | None
) -> list[Complaint]:
    if classes is None:
        return []
    counts = np.bincount(mask.ravel(), minlength=256)
    strange = [int(value) for value in np.flatnonzero(counts) if value >= len(classes)]
    if not strange:
        return []
    listed = ", ".join(f"value {value} in {counts[value]} pixels" for value in strange[:_VALUES_LISTED])
    more = f", and {len(strange) - _VALUES_LISTED} more values" if len(strange) > _VALUES_LISTED else ""
    return [
        Complaint(
            file=shown(file.path),
            message=f"{listed}{more}: outside the class list, which ends at {len(classes) - 1}",
            remedy="name every class in project.json, or change these pixels",
        )
    ]


def _size_complaint(file: UploadedFile, mask: npt.NDArray[np.uint8], size: tuple[int, int], turned: bool) -> Complaint:
    height, width = mask.shape
    upright = " upright, with its EXIF orientation applied," if turned else ""
    return Complaint(
        file=shown(file.path),
        message=f"the mask is {width} x {height} pixels, its image{upright} is {size[0]} x {size[1]}",
        remedy="draw the mask on the image as it is shown, at the same size",
    )


def _fitted(
    index: int,
    name: str,
    image: Image.Image,
    mask: npt.NDArray[np.uint8],
    notes: list[str],
    classes: Sequence[LabelClass],
    resolution: int,
) -> Seed:
    fitting = plan_fitting(image.size, resolution)
    fitted = fit_mask(mask, fitting)
    counts = np.bincount(fitted.ravel(), minlength=len(classes))
    record = SeedRecord(
        index=index,
        name=shown(name),
        fitting=fitting,
        class_pixels={item.name: int(count) for item, count in zip(classes, counts, strict=True)},
        notes=notes,
    )
    return Seed(record, _png(fit_image(image, fitting)), _png(Image.fromarray(fitted)))


def _png(image: Image.Image) -> bytes:
    """The image as PNG, with nothing of the file it came from: a copy sheds text, profiles and EXIF."""
    clean = Image.frombytes(image.mode, image.size, image.tobytes())
    buffer = io.BytesIO()
    clean.save(buffer, "PNG")
    return buffer.getvalue()
