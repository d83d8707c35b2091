"""Which formats a dataset can be packed in, and where their zips lie."""

import hashlib
from collections.abc import Iterable, Sequence

from service.label_schema import LabelKind, LabelSchema
from service.problems import Complaint
from service.records import JobRecord, dataset_key
from service.requests import DatasetFormat, Split

_NEEDS = {
    DatasetFormat.YOLO: (LabelKind.SEGMENTATION, LabelKind.KEYPOINTS),
    DatasetFormat.VOC: (LabelKind.SEGMENTATION,),
}
"""Label kinds of which a format needs one; the other formats take any."""


def suits(layout: DatasetFormat, schema: LabelSchema) -> bool:
    """Whether a format can say anything about labels of this schema."""
    needs = _NEEDS.get(layout)
    return needs is None or bool(set(needs) & set(schema.label_kinds))


def unsuited_formats(formats: Iterable[DatasetFormat], schema: LabelSchema) -> list[Complaint]:
    """One complaint for each format that has no place for labels of this schema."""
    return [
        Complaint(
            field=f"formats.{place}",
            message=f"`{layout}` holds {' or '.join(_NEEDS[layout])} labels, and the project has none",
            remedy="leave it out",
        )
        for place, layout in enumerate(formats)
        if not suits(layout, schema)
    ]


def zip_key(source: JobRecord, layout: DatasetFormat, split: Split | None) -> str:
    """Where the zip of a format lies that holds the dataset of job `source`, cut into parts by `split`.

    The key tells splits apart, so that a zip is never taken for one that was cut differently.
    """
    if split == source.generate.split:
        return dataset_key(source.id, f"{layout}.zip")
    shares = "none" if split is None else split.model_dump_json()
    return dataset_key(source.id, f"{layout}-{hashlib.sha256(shares.encode()).hexdigest()[:8]}.zip")


def packed_otherwise(source: JobRecord, formats: Iterable[DatasetFormat], split: Split | None) -> list[DatasetFormat]:
    """Those of `formats` that the dataset has already, but cut into other parts."""
    return [layout for layout in formats if source.outputs.get(layout, key := zip_key(source, layout, split)) != key]


def advice_if_packed_otherwise(source: JobRecord, taken: Sequence[DatasetFormat]) -> str:
    """What to tell those who want the formats `taken` of a dataset that has them cut into other parts."""
    zips = ", ".join(f"/jobs/{source.id}/download?format={layout}" for layout in taken)
    return (
        f"The dataset has {', '.join(taken)} already, cut into other parts. Leave that out of `formats`, and download "
        f"it as it is: {zips}. Only a dataset that is generated anew is cut differently: send /generate that `split`."
    )
