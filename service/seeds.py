"""Checking the seeds of an upload: every file, every fault, in one go."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.forced_seeds import forced_names
from service.keypoint_files import check_seen
from service.label_schema import DepthSchema, LabelSchema
from service.problems import Complaint
from service.project_spec import FILE as PROJECT_FILE
from service.project_spec import DepthSpec, ProjectSpec
from service.records import SeedLabels, SeedRecord
from service.seed_depths import scaled_depths
from service.seed_draft import Draft, Rules, draft_seed
from service.seed_files import SeedFiles, count_complaints, pair_complaints, sort_files
from service.seed_names import SeedNames
from service.seed_tables import Tables, kind_complaints, read_tables
from service.uploads import UploadedFile


@dataclass(frozen=True, slots=True)
class SeedLimits:
    """How much a project may hold."""

    seeds: int
    image_pixels: int


@dataclass(frozen=True, slots=True)
class Seed:
    """One seed ready to be stored: its record, and its files by name, at the generator's size."""

    record: SeedRecord
    files: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class CheckedSeeds:
    """What an upload comes to. With any complaint there is no schema, and no seeds."""

    schema: LabelSchema | None = None
    seeds: list[Seed] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)


def check_seeds(
    files: Sequence[UploadedFile], limits: SeedLimits, spec: ProjectSpec | None, resolution: int | None
) -> CheckedSeeds:
    """The seeds among `files`, in the order of their names, fitted to `resolution`; or all that is wrong with them.

    Without `spec` or `resolution`, which an invalid `project.json` leaves unknown, what can be checked is checked.
    """
    found, complaints = sort_files(files)
    complaints += count_complaints(found, limits.seeds)
    complaints += pair_complaints(
        found, masks_wanted=bool(spec and spec.classes), depths_wanted=bool(spec and spec.depth)
    )
    forced = set[str]()
    if spec is not None:
        forced, wrong = forced_names(spec.forced_seeds, SeedNames(found.images).find, PROJECT_FILE)
        complaints += kind_complaints(found, spec) + _scale_complaints(found, spec) + wrong
    # A refused number of images is not decoded: that would let anyone buy hours of work with one upload.
    if not found.images or len(found.images) > limits.seeds:
        return CheckedSeeds(complaints=_in_order(complaints))
    tables = read_tables(found, spec)
    drafts, wrong = _drafts(found, tables, Rules(limits.image_pixels, spec, resolution))
    complaints += wrong
    # Of seeds that cannot be placed, nobody knows which points their part of the image shows.
    placed = len(drafts) == len(found.images)
    if tables.keypoints is not None and placed and not complaints and not tables.complaints:
        points = [draft.points for draft in drafts if draft.points is not None]
        check_seen(tables.keypoints.schema, points, tables.keypoint_faults)
    depths = {draft.name: draft.depth for draft in drafts if draft.depth is not None}
    depth, steps, wrong = scaled_depths(depths, (spec.depth if spec is not None else None) or DepthSpec())
    complaints += wrong + tables.complaints
    if complaints or spec is None or not placed:
        return CheckedSeeds(complaints=_in_order(complaints))
    schema = _schema(spec, tables, depth)
    seeds = [_seed(index, draft, steps.get(draft.name), schema, tables) for index, draft in enumerate(drafts)]
    for seed, draft in zip(seeds, drafts, strict=True):
        seed.record.forced = draft.name in forced
    return CheckedSeeds(schema, seeds)


def _drafts(files: SeedFiles, tables: Tables, rules: Rules) -> tuple[list[Draft], list[Complaint]]:
    drafts, complaints = [], []
    for name in sorted(files.images.keys() | files.masks.keys() | files.depths.keys()):
        draft, wrong = draft_seed(name, files, tables, rules)
        complaints += wrong
        if draft is not None:
            drafts.append(draft)
    return drafts, complaints


def _in_order(complaints: list[Complaint]) -> list[Complaint]:
    return sorted(complaints, key=lambda complaint: complaint.file or "")


def _scale_complaints(files: SeedFiles, spec: ProjectSpec) -> list[Complaint]:
    pictures = any(file.path.lower().endswith(".png") for file in files.depths.values())
    if spec.depth is None or spec.depth.scale is not None or not pictures:
        return []
    message = "it is missing, and a PNG does not say what one step of its pixels is worth"
    remedy = "give the depth of one step, in `unit`"
    return [Complaint(file=PROJECT_FILE, field="depth.scale", message=message, remedy=remedy)]


def _schema(spec: ProjectSpec, tables: Tables, depth: DepthSchema | None) -> LabelSchema:
    return LabelSchema(
        classes=spec.labeled_classes(),
        keypoints=tables.keypoints.schema if tables.keypoints else None,
        depth=depth,
        attributes=tables.attributes.schema if tables.attributes else [],
    )


def _seed(
    index: int,
    draft: Draft,
    depth: npt.NDArray[np.uint16] | None,
    schema: LabelSchema,
    tables: Tables,
) -> Seed:
    files = {"image.png": _png(draft.image)}
    record = SeedRecord(index=index, name=draft.name, fitting=draft.fitting, notes=draft.notes)
    labels = SeedLabels()
    if draft.mask is not None:
        files["segmentation.png"] = _png(Image.fromarray(draft.mask))
        counts = np.bincount(draft.mask.ravel(), minlength=len(schema.classes))
        record.class_pixels = {item.name: int(counts[place]) for place, item in enumerate(schema.classes)}
    if depth is not None:
        files["depth.png"] = _png(Image.fromarray(depth))
        record.known_depth = round(float((depth > 0).mean()), 6)
    if draft.points is not None:
        labels.keypoints = [(float(x), float(y), int(v)) for x, y, v in draft.points]
        record.visible_points = int((draft.points[:, 2] == 2).sum())
    if tables.attributes is not None:
        labels.attributes = tables.attributes.values[draft.name]
        known = zip(schema.attributes, labels.attributes, strict=True)
        record.attributes = {item.name: item.values[value] for item, value in known if value >= 0}
    if draft.points is not None or tables.attributes is not None:
        files["labels.json"] = labels.model_dump_json().encode()
    return Seed(record, files)


def _png(image: Image.Image) -> bytes:
    """The image as PNG, with nothing of the file it came from: a copy sheds text, profiles and EXIF."""
    clean = Image.frombytes(image.mode, image.size, image.tobytes())
    buffer = io.BytesIO()
    clean.save(buffer, "PNG")
    return buffer.getvalue()
