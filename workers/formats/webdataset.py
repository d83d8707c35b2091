"""The `webdataset` format: tars of some hundreds of samples, for training that streams."""

from collections import Counter
from collections.abc import Iterable, Iterator

from service.label_schema import LabelSchema
from service.requests import DatasetFormat
from workers.formats.format import Description, Enclosures, Format, Worked, enclosed
from workers.formats.members import Member, Spool
from workers.formats.metadata import depth_line, lines_of_scale
from workers.split import Part
from workers.tars import PackedSample, ShardWriter, blocks_of

_MOST_SAMPLES = 1000
_MOST_BYTES = 256 * 2**20
"""A tar is full at the first of the two."""


class _Tar:
    """One tar, as it fills."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._spool = Spool()
        self._writer = ShardWriter(self._spool.stream)
        self._samples = self._bytes = 0

    def add(self, sample: PackedSample) -> None:
        self._writer.add(blocks_of(sample))
        self._samples += 1
        self._bytes += sample.size

    @property
    def is_full(self) -> bool:
        return self._samples >= _MOST_SAMPLES or self._bytes >= _MOST_BYTES

    def member(self) -> Member:
        """The tar as it is to be. Nothing can be added afterwards."""
        self._writer.complete()
        return Member.of(self._name, self._spool)

    def close(self) -> None:
        """Drop the bytes."""
        self._spool.close()


def _members(samples: Iterable[Worked[None]], description: Description, enclosures: Enclosures) -> Iterator[Member]:
    filling: dict[str, _Tar] = {}
    begun = Counter[str]()
    try:
        for sample, _ in samples:
            # Seeds have tars of their own, so that a stream can draw a share of its samples from them.
            row = description.part(sample) + ("-seeds" if sample.facts.origin == "seed" else "")
            if row not in filling:
                filling[row] = _Tar(f"{row}-{begun[row]:05d}.tar")
                begun[row] += 1
            filling[row].add(sample)
            if filling[row].is_full:
                yield filling[row].member()
                filling.pop(row).close()
        for tar in filling.values():
            yield tar.member()
    finally:
        for tar in filling.values():
            tar.close()
    if description.schema.classes:
        yield Member.of("classes.txt", "".join(f"{entry.name}\n" for entry in description.schema.classes).encode())
    yield from enclosed(enclosures, WEBDATASET)


def _files(schema: LabelSchema) -> dict[str, str]:
    members = ["`image.png` (or `image.jpg`, `image.webp`)"]
    if schema.classes:
        members.append("`segmentation.png` (8-bit palette; the pixel value is the class, 255 is ignored)")
    if schema.depth:
        members.append("`depth.png` (16-bit grey; depth = pixel × scale, 0 is not known)")
    members.append("`json` (indices, uncertainty, and the labels that are not pictures, as numbers)")
    files = {
        "train-00000.tar …": f"{_MOST_SAMPLES} samples or fewer of one part; members of a sample: {', '.join(members)}"
    }
    return files | ({"classes.txt": "a class a line; the first one is value 0"} if schema.classes else {})


def _snippet(schema: LabelSchema, part: Part) -> str:
    lines = ["import glob, io, json", "import numpy as np", "import webdataset", "from PIL import Image", ""]
    lines += lines_of_scale(schema)
    lines += [f'dataset = webdataset.WebDataset(sorted(glob.glob("{part}-*.tar")), shardshuffle=False)']
    lines += ['for sample in dataset.rename(image="image.png;image.jpg;image.webp"):']
    lines += ['    image = Image.open(io.BytesIO(sample["image"]))', '    facts = json.loads(sample["json"])']
    if schema.classes:
        load = 'np.array(Image.open(io.BytesIO(sample["segmentation.png"])))'
        lines.append(f"    mask = {load}  # class of each pixel; 255 is ignored")
    if schema.depth:
        lines.append(depth_line('Image.open(io.BytesIO(sample["depth.png"]))'))
    if schema.keypoints:
        lines.append('    keypoints = facts["keypoints"]  # x, y, visibility of each point')
    if schema.attributes:
        lines.append('    attributes = facts["attributes"]  # the index of each attribute\'s value; -1 is not known')
    return "\n".join(lines)


WEBDATASET = Format(DatasetFormat.WEBDATASET, _members, _files, _snippet)
