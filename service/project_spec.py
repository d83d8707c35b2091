"""`project.json` as a client writes it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from service.file_faults import shortened
from service.label_schema import Attribute, Color, KeypointSchema, LabelClass, LabelKind, Name, NameOfOther, Record
from service.mirrors import mirrors_of
from service.palette import fill_colors
from service.problems import Complaint
from service.strict_json import JsonRefused, load_json
from service.uploads import shown

FILE = "project.json"

_MAX_ATTRIBUTES = 64
_MAX_LINES = 1024
_MAX_VALUES = 30_000
_INCONSISTENT = "inconsistent"
_PRINT = "use characters that print"
_LAYOUT = "compare with the example of `POST /projects` at /docs"


class Fault(NamedTuple):
    """Something wrong below a field of the specification; with the field itself, where `field` is empty."""

    field: str
    message: str
    remedy: str


def _printable(text: str) -> str:
    if not text.isprintable():
        message = f"`{shown(text)}` holds line breaks or other characters that do not print"
        raise PydanticCustomError(_INCONSISTENT, "it does not print", {"faults": [Fault("", message, _PRINT)]})
    return text


class ClassSpec(Record):
    """One class; its index in masks is its place in the list."""

    name: Name
    color: Color | None = Field(default=None, description="`#rrggbb`; chosen for you if left out")
    mirror: NameOfOther | None = Field(
        default=None, description="the class it becomes when an image is flipped left to right"
    )


class DepthSpec(Record):
    """How depth is measured."""

    unit: Annotated[
        str, StringConstraints(min_length=1, max_length=32, strip_whitespace=True), AfterValidator(_printable)
    ] = "unit"
    scale: float | None = Field(
        default=None,
        ge=1e-20,
        le=1e15,
        strict=True,
        description="depth of one step of a 16-bit PNG, in `unit`; of NPY files alone it is chosen for you if left out",
    )


def _consistent(faults: Iterator[Fault]) -> None:
    """Raises an error that holds them all, if there are any."""
    if found := list(faults):
        raise PydanticCustomError(_INCONSISTENT, "it does not agree with itself", {"faults": found})


def _faults_of_names(what: str, names: Sequence[str], place: str = "") -> Iterator[Fault]:
    """What is wrong with the names of a list of `what`: each printable and there once, whatever its case."""
    counts = Counter(name.casefold() for name in names)
    for index, name in enumerate(names):
        field = f"{index}{place}"
        if not name.isprintable():
            yield Fault(field, f"the name {shown(name)} holds control characters", _PRINT)
        if counts.pop(name.casefold(), 0) > 1:
            yield Fault(field, f"`{shown(name)}` is there twice: each {what} has a name of its own", "rename one")


def _faults_of_mirrors(mirrors: dict[str, str | None]) -> Iterator[Fault]:
    for index, (name, mirror) in enumerate(mirrors.items()):
        if mirror is None:
            continue
        field, told = f"{index}.mirror", shown(mirror)
        if mirror not in mirrors:
            yield Fault(field, f"`{told}` is no name of the list", "name one of the list, or leave `mirror` out")
        elif mirrors[mirror] != name:
            other = mirrors[mirror]
            message = f"`{name}` mirrors `{told}`, which mirrors {f'`{shown(other)}`' if other else 'nothing'}"
            yield Fault(field, message, "let each of the two name the other")


def _check_classes(classes: list[ClassSpec]) -> list[ClassSpec]:
    def faults() -> Iterator[Fault]:
        yield from _faults_of_names("class", [item.name for item in classes], ".name")
        yield from _faults_of_mirrors({item.name: item.mirror for item in classes})

    _consistent(faults())
    return classes


def _check_keypoints(keypoints: KeypointSchema) -> KeypointSchema:
    names = [point.name for point in keypoints.points]

    def faults() -> Iterator[Fault]:
        mirrors = {point.name: point.mirror for point in keypoints.points}
        for fault in (*_faults_of_names("point", names, ".name"), *_faults_of_mirrors(mirrors)):
            yield fault._replace(field=f"points.{fault.field}")
        if len(keypoints.skeleton) > _MAX_LINES:
            yield Fault("skeleton", f"it has more than {_MAX_LINES} lines", "leave some out")
            return
        for index, line in enumerate(keypoints.skeleton):
            for end in line:
                if end not in names:
                    yield Fault(f"skeleton.{index}", f"`{shown(end)}` is no point", "join points of the list")
            if line[0] == line[1]:
                yield Fault(f"skeleton.{index}", f"it joins `{shown(line[0])}` with itself", "join two points")

    _consistent(faults())
    return keypoints


def _with_mirrors(keypoints: Any) -> Any:
    """Points that are plain names become points whose sides mirror each other."""
    if not isinstance(keypoints, dict) or not isinstance(points := keypoints.get("points"), list):
        return keypoints
    points = [point.strip() if isinstance(point, str) else point for point in points]
    mirrors = mirrors_of([point for point in points if isinstance(point, str)])
    made = [{"name": point, "mirror": mirrors.get(point)} if isinstance(point, str) else point for point in points]
    return keypoints | {"points": made}


def _check_attributes(attributes: list[Attribute]) -> list[Attribute]:
    def faults() -> Iterator[Fault]:
        yield from _faults_of_names("attribute", [item.name for item in attributes], ".name")
        for index, item in enumerate(attributes):
            if item.name.casefold() == "image":
                remedy = "name the attribute otherwise"
                yield Fault(f"{index}.name", "`image` is the column of classes.csv that names the image", remedy)
            if f"_{item.name}".endswith("_file_name"):
                message = f"readers of `huggingface` take what `{shown(item.name)}` says for the path of a picture"
                yield Fault(f"{index}.name", message, "name the attribute otherwise, or leave it out")
            for fault in _faults_of_names("value", item.values):
                yield fault._replace(field=f"{index}.values.{fault.field}")
            swapped = Counter(value for pair in item.mirror for value in pair)
            for value, count in swapped.items():
                if value not in item.values:
                    remedy = "name values of the list"
                    yield Fault(f"{index}.mirror", f"`{shown(value)}` is no value of `{item.name}`", remedy)
                elif count > 1:
                    message = f"`{shown(value)}` is there twice: a value swaps with one other"
                    yield Fault(f"{index}.mirror", message, "name each value once")

    _consistent(faults())
    return attributes


CheckedKeypoints = Annotated[KeypointSchema, BeforeValidator(_with_mirrors), AfterValidator(_check_keypoints)]
"""Names, mirrors and skeleton agree. A point may be given as its name alone."""

CheckedAttributes = Annotated[
    list[Attribute], Field(min_length=1, max_length=_MAX_ATTRIBUTES), AfterValidator(_check_attributes)
]
"""Names, values and mirrors agree."""


def _check_kinds(kinds: list[LabelKind]) -> list[LabelKind]:
    if len(set(kinds)) < len(kinds):
        raise PydanticCustomError(_INCONSISTENT, "each label kind is named once")
    return kinds


class ProjectSpec(Record):
    """What a project is to be: its name, its generator, and at least one of `classes`, `keypoints`, `depth` and
    `attributes`, where the files do not say it themselves."""

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True), AfterValidator(_printable)
    ]
    generator: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    classes: Annotated[list[ClassSpec], Field(min_length=2), AfterValidator(_check_classes)] | None = Field(
        default=None, description="of the masks in segmentation/"
    )
    keypoints: CheckedKeypoints | None = Field(
        default=None,
        description="of keypoints.json or keypoints.csv. A point may be its name alone; then `left_ear` and "
        "`right_ear`, `l_ear` and `r_ear`, `ear_left` and `ear_right` mirror each other. Left out, it is what the "
        "categories of keypoints.json say",
    )
    depth: DepthSpec | None = Field(default=None, description="of the files in depth/")
    attributes: CheckedAttributes | None = Field(
        default=None, description="columns of classes.csv. Left out, they are what the file itself has"
    )
    forced_seeds: list[str] = Field(
        default_factory=list, description="NAMEs of seeds that enter the fit however badly the generator rebuilds them"
    )
    flip: StrictBool | None = Field(
        default=None,
        description="whether seeds flipped left to right are learnt from as well, with what `mirror` makes of their "
        "labels. Left out, they are, unless a name of a side has no `mirror`, or there are several keypoints and none "
        "has one. Either way none is learnt from where the generator rebuilds flipped seeds worse than the others",
    )
    label_kinds: Annotated[list[LabelKind], Field(min_length=1), AfterValidator(_check_kinds)] | None = Field(
        default=None, description="may be left out; if given, it has to agree with the labels"
    )

    def labeled_classes(self) -> list[LabelClass]:
        """The classes, each with a colour."""
        classes = self.classes or []
        colors = fill_colors([item.color for item in classes])
        return [
            LabelClass(name=item.name, color=color, mirror=item.mirror)
            for item, color in zip(classes, colors, strict=True)
        ]


def parse_project(data: bytes, max_classes: int) -> tuple[ProjectSpec | None, list[Complaint]]:
    """The project that `data` describes, or everything that is wrong with it."""
    try:
        content = load_json(data)
        if _values(content) > _MAX_VALUES:
            message = f"it holds more than {_MAX_VALUES} names and numbers"
            return None, [Complaint(file=FILE, message=message, remedy="describe one project only")]
        spec = ProjectSpec.model_validate(content)
    except ValidationError as error:
        return None, complaints_of(error)
    except JsonRefused as refusal:
        return None, [Complaint(file=FILE, message=refusal.args[0], remedy=refusal.args[1])]
    if spec.classes is not None and len(spec.classes) > max_classes:
        message = f"{len(spec.classes)} classes are more than {max_classes}"
        return None, [Complaint(file=FILE, field="classes", message=message, remedy="join some classes")]
    return spec, []


def _values(content: Any) -> int:
    """How many values `content` holds on all its levels: what checking it costs grows with them."""
    count, open_ = 0, [content]
    while open_:
        node = open_.pop()
        inner = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
        count += len(inner)
        open_.extend(inner)
    return count


def complaints_of(error: ValidationError, file: str = FILE) -> list[Complaint]:
    """What pydantic and the checks above found wrong in `file`."""
    complaints: list[Complaint] = []
    for item in error.errors(include_input=False, include_url=False):
        field = ".".join(shown(str(part))[:64] for part in item["loc"]) or None
        for fault in item.get("ctx", {}).get("faults", ()):
            place = ".".join(part for part in (field, fault.field) if part)
            complaints.append(Complaint(file=file, field=place, message=fault.message, remedy=fault.remedy))
        if item["type"] == "extra_forbidden":
            remedy = "remove it, or correct its spelling"
            complaints.append(Complaint(file=file, field=field, message="unknown field", remedy=remedy))
        elif "faults" not in item.get("ctx", {}):
            complaints.append(Complaint(file=file, field=field, message=item["msg"], remedy=_LAYOUT))
    return shortened(complaints)
