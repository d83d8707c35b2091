"""The labels of an upload that stand in tables: keypoints and attributes, of all seeds at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from service.attribute_files import MAX_BYTES as ATTRIBUTE_BYTES
from service.attribute_files import Attributes, read_attributes
from service.coco_keypoints import read_coco_keypoints
from service.csv_table import read_table
from service.file_faults import FileFaults, read_bounded
from service.keypoint_files import MAX_BYTES as KEYPOINT_BYTES
from service.keypoint_files import Keypoints, read_keypoint_csv
from service.label_schema import LabelKind
from service.problems import Complaint
from service.project_spec import FILE as PROJECT_FILE
from service.project_spec import ProjectSpec
from service.seed_files import SeedFiles
from service.seed_names import SeedNames
from service.uploads import UploadedFile


@dataclass(slots=True)
class Tables:
    """What was read of an upload's tables. `keypoint_faults` takes what is found wrong with the points later."""

    keypoints: Keypoints | None = None
    attributes: Attributes | None = None
    keypoint_faults: FileFaults = field(default_factory=lambda: FileFaults("keypoints.json"))
    attribute_faults: FileFaults = field(default_factory=lambda: FileFaults("classes.csv"))

    @property
    def complaints(self) -> list[Complaint]:
        """All that is wrong with the tables."""
        return self.keypoint_faults.complaints + self.attribute_faults.complaints


def read_tables(files: SeedFiles, spec: ProjectSpec | None) -> Tables:
    """The tables of an upload. Without `spec`, what can be checked is checked, and nothing is read."""
    tables, seeds = Tables(), SeedNames(files.images)
    if files.keypoints is not None:
        tables.keypoint_faults = FileFaults(files.keypoints.path)
        tables.keypoints = _keypoints(files.keypoints, seeds, spec, tables.keypoint_faults)
    if files.classes is not None:
        tables.attribute_faults = FileFaults(files.classes.path)
        tables.attributes = _attributes(files.classes, seeds, spec, tables.attribute_faults)
    return tables


def _keypoints(file: UploadedFile, seeds: SeedNames, spec: ProjectSpec | None, faults: FileFaults) -> Keypoints | None:
    data = read_bounded(file, KEYPOINT_BYTES, faults)
    if data is None:
        return None
    schema = spec.keypoints if spec is not None else None
    if file.path.lower().endswith(".json"):
        return read_coco_keypoints(data, seeds, schema, faults)
    if schema is not None:
        return read_keypoint_csv(data, seeds, schema, faults)
    read_table(data, faults)
    if spec is not None:
        message = "it does not say which points there are, nor does project.json"
        faults.add(message, "list them as `keypoints` in project.json")
    return None


def _attributes(
    file: UploadedFile, seeds: SeedNames, spec: ProjectSpec | None, faults: FileFaults
) -> Attributes | None:
    data = read_bounded(file, ATTRIBUTE_BYTES, faults)
    if data is None:
        return None
    if spec is None:
        read_table(data, faults)
        return None
    return read_attributes(data, seeds, spec.attributes, faults)


def kind_complaints(files: SeedFiles, spec: ProjectSpec) -> list[Complaint]:
    """What of the label kinds is described and not there, or there and not described."""
    complaints = []
    for fields, names, there, home in (
        ("classes", "names no classes", files.masks, "segmentation/"),
        ("depth", "does not mention depth", files.depths, "depth/"),
    ):
        if there and getattr(spec, fields) is None:
            message = f"it {names}, and there are files in {home}"
            remedy = f"add `{fields}`, or leave out {home}"
            complaints.append(Complaint(file=PROJECT_FILE, field=fields, message=message, remedy=remedy))
    if spec.keypoints is not None and files.keypoints is None:
        remedy = "add it, or keypoints.csv, or take `keypoints` out of project.json"
        complaints.append(Complaint(file="keypoints.json", message="it is missing", remedy=remedy))
    if spec.attributes is not None and files.classes is None:
        remedy = "add it, or take `attributes` out of project.json"
        complaints.append(Complaint(file="classes.csv", message="it is missing", remedy=remedy))
    kinds = _kinds(files, spec)
    if not kinds:
        remedy = "give `classes`, `keypoints`, `depth` or `attributes`, and the files that go with them"
        complaints.append(Complaint(file=PROJECT_FILE, message="the project has no labels", remedy=remedy))
    elif spec.label_kinds is not None and set(spec.label_kinds) != set(kinds):
        message = f"it says {_words(spec.label_kinds)}, and the labels are {_words(kinds)}"
        remedy = "leave `label_kinds` out, or let it agree with the labels"
        complaints.append(Complaint(file=PROJECT_FILE, field="label_kinds", message=message, remedy=remedy))
    return complaints


def _kinds(files: SeedFiles, spec: ProjectSpec) -> list[LabelKind]:
    there = {
        LabelKind.SEGMENTATION: spec.classes is not None or bool(files.masks),
        LabelKind.KEYPOINTS: spec.keypoints is not None or files.keypoints is not None,
        LabelKind.DEPTH: spec.depth is not None or bool(files.depths),
        LabelKind.CLASS: spec.attributes is not None or files.classes is not None,
    }
    return [kind for kind, given in there.items() if given]


def _words(kinds: Sequence[LabelKind]) -> str:
    return ", ".join(kind.value for kind in kinds)
