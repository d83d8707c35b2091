"""One seed of an upload: its files decoded, checked against each other, and fitted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.depth_files import read_depth_npy, read_depth_png
from service.fitting import fit_image, fit_labels, fit_points, plan_fitting
from service.images import read_image, read_mask
from service.keypoint_files import Keypoints, check_points, listed
from service.label_schema import IGNORED
from service.problems import Complaint
from service.project_spec import ProjectSpec
from service.records import Fitting
from service.seed_depths import SeedDepth
from service.seed_files import SeedFiles
from service.seed_tables import Tables
from service.uploads import UploadDamaged, UploadedFile, shown
from untrusted.pictures import PictureRefused
from untrusted.reading import TURNED

_VALUES_LISTED = 5

T = TypeVar("T")


@dataclass(slots=True)
class Draft:
    """One seed, decoded and fitted; a kind of label that the project does not have is None."""

    name: str
    fitting: Fitting
    image: Image.Image
    notes: list[str]
    mask: npt.NDArray[np.uint8] | None = None
    depth: SeedDepth | None = None
    points: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """What every seed of a project is held to. What an invalid `project.json` leaves unknown is None."""

    max_pixels: int
    spec: ProjectSpec | None
    resolution: int | None

    @property
    def classes(self) -> int | None:
        """How many there are."""
        return len(self.spec.classes) if self.spec is not None and self.spec.classes is not None else None

    @property
    def depth_scale(self) -> float | None:
        """What one step of a depth PNG is worth."""
        return self.spec.depth.scale if self.spec is not None and self.spec.depth is not None else None


def draft_seed(name: str, files: SeedFiles, tables: Tables, rules: Rules) -> tuple[Draft | None, list[Complaint]]:
    """The seed NAME, or None and what is wrong with its files; what is wrong with its points goes to `tables`."""
    complaints: list[Complaint] = []
    mask_file, depth_file = files.masks.get(name), files.depths.get(name)
    read = _read(files.images.get(name), lambda stream: read_image(stream, rules.max_pixels), complaints)
    mask = _read(mask_file, lambda stream: read_mask(stream, rules.max_pixels), complaints)
    depth = _read(depth_file, lambda stream: _depth(depth_file, stream, rules), complaints)
    if mask is not None and mask_file is not None and rules.classes is not None:
        complaints += _strange_values(mask_file, mask, rules.classes)
    if read is None:
        return None, complaints
    image, notes = read
    turned = TURNED in notes
    for what, file, label in (("mask", mask_file, mask), ("depth", depth_file, depth)):
        if file is not None and label is not None and image.size != label.shape[::-1]:
            complaints.append(_size_complaint(what, file, label.shape, image.size, turned))
    points = check_points(name, tables.keypoints, image.size, tables.keypoint_faults) if tables.keypoints else None
    if complaints or rules.resolution is None:
        return None, complaints
    fitting = plan_fitting(image.size, rules.resolution)
    draft = Draft(name, fitting, fit_image(image, fitting), notes)
    if mask is not None and mask_file is not None:
        draft.mask = fit_labels(mask, fitting)
        if (draft.mask == IGNORED).all():
            message = "it is 255, which is ignored, in all of the part that is kept"
            complaints.append(Complaint(file=shown(mask_file.path), message=message, remedy="label some pixels"))
    if depth is not None and depth_file is not None:
        draft.depth = SeedDepth(depth_file.path, fit_labels(depth, fitting))
    if points is not None and tables.keypoints is not None:
        _fit_points(draft, points, tables.keypoints)
    return draft, complaints


def _fit_points(draft: Draft, points: npt.NDArray[np.float64], keypoints: Keypoints) -> None:
    draft.points = fit_points(points, draft.fitting)
    gone = np.flatnonzero((points[:, 2] > 0) & (draft.points[:, 2] == 0))
    if len(gone):
        draft.notes.append(f"cropped away: {listed(keypoints.schema.points[index].name for index in gone)}")


def _read(file: UploadedFile | None, read: Callable[[BinaryIO], T], complaints: list[Complaint]) -> T | None:
    """What `read` makes of the file; None without a file, or if it is refused, which is added to `complaints`."""
    if file is None:
        return None
    try:
        with file.open() as stream:
            return read(stream)
    except (PictureRefused, UploadDamaged) as error:
        message, *remedy = error.args
        remedy = remedy or ["make the upload anew"]
        complaints.append(Complaint(file=shown(file.path), message=message, remedy=remedy[0]))
        return None


def _depth(file: UploadedFile | None, stream: BinaryIO, rules: Rules) -> npt.NDArray[np.float32]:
    """(H, W) in the project's unit, NaN where it is not known. Without a scale, of a PNG the steps themselves."""
    if file is not None and file.path.lower().endswith(".npy"):
        return read_depth_npy(stream, rules.max_pixels)
    depth = read_depth_png(stream, rules.max_pixels) * (rules.depth_scale or 1.0)
    depth[depth == 0] = np.nan
    return depth.astype(np.float32)


def _strange_values(file: UploadedFile, mask: npt.NDArray[np.uint8], classes: int) -> list[Complaint]:
    counts = np.bincount(mask.ravel(), minlength=256)
    strange = [int(value) for value in np.flatnonzero(counts) if classes <= value != IGNORED]
    if not strange:
        return []
    told = ", ".join(f"value {value} in {counts[value]} pixels" for value in strange[:_VALUES_LISTED])
    more = f", and {len(strange) - _VALUES_LISTED} more values" if len(strange) > _VALUES_LISTED else ""
    return [
        Complaint(
            file=shown(file.path),
            message=f"{told}{more}: outside the class list, which ends at {classes - 1}",
            remedy=f"name every class in project.json, or change these pixels; {IGNORED} marks pixels to ignore",
        )
    ]


def _size_complaint(
    what: str, file: UploadedFile, shape: tuple[int, ...], size: tuple[int, int], turned: bool
) -> Complaint:
    height, width = shape
    upright = " upright, with its EXIF orientation applied," if turned else ""
    return Complaint(
        file=shown(file.path),
        message=f"the {what} is {width} x {height} pixels, its image{upright} is {size[0]} x {size[1]}",
        remedy=f"make the {what} of the image as it is shown, at the same size",
    )
