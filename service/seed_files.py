"""Which file of an upload is what: images and labels by their paths."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.problems import Complaint
from service.project_spec import FILE as PROJECT_FILE
from service.uploads import UploadedFile, shown

FOLDERS = frozenset({"images", "segmentation", "depth"})

_IMAGE = re.compile(r"images/([^/]+)\.(png|jpg|jpeg)", re.IGNORECASE)
_MASK = re.compile(r"segmentation/([^/]+)\.png", re.IGNORECASE)
_DEPTH = re.compile(r"depth/([^/]+)\.(png|npy)", re.IGNORECASE)
_KEYPOINTS = ("keypoints.json", "keypoints.csv")
_CLASSES = "classes.csv"
_LAYOUT = "send project.json, images/NAME.png or .jpg, and labels: segmentation/NAME.png, depth/NAME.png or .npy, "
_LAYOUT += "keypoints.json or .csv, classes.csv"


@dataclass(frozen=True, slots=True)
class SeedFiles:
    """The files of an upload, sorted out; images and pictures of labels by NAME."""

    images: dict[str, UploadedFile] = field(default_factory=dict)
    masks: dict[str, UploadedFile] = field(default_factory=dict)
    depths: dict[str, UploadedFile] = field(default_factory=dict)
    keypoints: UploadedFile | None = None
    classes: UploadedFile | None = None


def sort_files(files: Sequence[UploadedFile]) -> tuple[SeedFiles, list[Complaint]]:
    """The files by what they are, and a complaint for each that is nothing or is there in two forms."""
    sorted_out = SeedFiles()
    tables: dict[str, UploadedFile] = {}
    complaints = []
    for file in files:
        for pattern, home in ((_IMAGE, sorted_out.images), (_MASK, sorted_out.masks), (_DEPTH, sorted_out.depths)):
            if match := pattern.fullmatch(file.path):
                first = home.setdefault(match[1], file)
                # Twins by the whole path are told of where the upload is read.
                if first.path.casefold() != file.path.casefold():
                    message = f"it has the same NAME as {shown(first.path)}"
                    remedy = "give each seed its own NAME, and one file of a kind"
                    complaints.append(Complaint(file=shown(file.path), message=message, remedy=remedy))
                break
        else:
            name = file.path.lower()
            if name in (*_KEYPOINTS, _CLASSES):
                tables.setdefault(name, file)
            elif file.path != PROJECT_FILE:
                message = "it is neither an image nor labels nor project.json"
                complaints.append(Complaint(file=shown(file.path), message=message, remedy=_LAYOUT))
    if all(name in tables for name in _KEYPOINTS):
        message = "keypoints.json is there, too"
        complaints.append(Complaint(file=tables[_KEYPOINTS[1]].path, message=message, remedy="send one of the two"))
    keypoints = next((tables[name] for name in _KEYPOINTS if name in tables), None)
    return (
        SeedFiles(sorted_out.images, sorted_out.masks, sorted_out.depths, keypoints, tables.get(_CLASSES)),
        complaints,
    )


def count_complaints(files: SeedFiles, max_seeds: int) -> list[Complaint]:
    """Complaints of too few or too many images."""
    if not files.images:
        return [Complaint(field="files", message="there are no images", remedy=_LAYOUT)]
    if len(files.images) > max_seeds:
        message = f"{len(files.images)} images are more than {max_seeds}"
        return [Complaint(field="files", message=message, remedy=f"choose the {max_seeds} most different ones")]
    return []


def pair_complaints(files: SeedFiles, masks_wanted: bool, depths_wanted: bool) -> list[Complaint]:
    """A complaint for each image without a label of a kind that is wanted or that others have, and the other way."""
    complaints = []
    for what, folder, home, wanted in (
        ("mask", "segmentation", files.masks, masks_wanted),
        ("depth", "depth", files.depths, depths_wanted),
    ):
        if not home and not wanted:
            continue
        for name in files.images.keys() - home.keys():
            remedy = f"add {folder}/{shown(name)}.png, or leave it out"
            path = shown(files.images[name].path)
            complaints.append(Complaint(file=path, message=f"it has no {what}", remedy=remedy))
        for name in home.keys() - files.images.keys():
            remedy = f"add images/{shown(name)}.png, or leave it out"
            path = shown(home[name].path)
            complaints.append(Complaint(file=path, message="it has no image", remedy=remedy))
    return complaints
