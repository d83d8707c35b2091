"""Shards as WebDataset tars: three members a sample, and the same samples always give the same bytes."""

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import BinaryIO

IMAGE, MASK, FACTS = "image.png", "segmentation.png", "json"


@dataclass(frozen=True, slots=True)
class SampleFacts:
    """What a shard says about a sample beside its pictures."""

    index: int
    uncertainty: float
    """Jensen-Shannon divergence of the labeler's members over the sample's most uncertain pixels, in nats."""
    class_pixels: list[int]
    """Pixels of each class in the mask."""


@dataclass(frozen=True, slots=True)
class PackedSample:
    """One sample as it lies in a shard: PNG bytes of image and mask, and its facts."""

    facts: SampleFacts
    image: bytes
    mask: bytes


class ShardWriter:
    """Writes samples to a tar, in the order given. Use as a context manager; leaving it completes the tar."""

    def __init__(self, stream: BinaryIO) -> None:
        self._tar = tarfile.TarFile(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT)

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()

    def add(self, sample: PackedSample) -> None:
        """Append one sample as `000000123.image.png`, `000000123.segmentation.png` and `000000123.json`."""
        stem = f"{sample.facts.index:09d}"
        self._member(f"{stem}.{IMAGE}", sample.image)
        self._member(f"{stem}.{MASK}", sample.mask)
        self._member(f"{stem}.{FACTS}", json.dumps(asdict(sample.facts), sort_keys=True).encode())

    def _member(self, name: str, data: bytes) -> None:
        info = tarfile.TarInfo(name)  # owner and times stay 0, so that the bytes depend on the samples alone
        info.size = len(data)
        info.mode = 0o644
        self._tar.addfile(info, io.BytesIO(data))


class ShardDamaged(Exception):
    """A tar that `ShardWriter` did not write, or not to its end."""


def read_shard(stream: BinaryIO) -> Iterator[PackedSample]:
    """The samples of a shard in order, one at a time, from a stream that need not seek. Raises `ShardDamaged`."""
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            yield from _samples(tar)
    except tarfile.TarError as damage:
        raise ShardDamaged(str(damage)) from damage


def _samples(tar: tarfile.TarFile) -> Iterator[PackedSample]:
    parts: dict[str, bytes] = {}
    stem = ""
    while (info := tar.next()) is not None:
        member_stem, _, suffix = info.name.partition(".")
        if parts and member_stem != stem:
            raise ShardDamaged(f"sample {stem} lacks a member")
        stem = member_stem
        member = tar.extractfile(info)
        if member is None:
            raise ShardDamaged(f"{info.name} is not a file")
        parts[suffix] = member.read()
        if len(parts) == 3:
            if parts.keys() != {IMAGE, MASK, FACTS}:
                raise ShardDamaged(f"sample {stem} has members {sorted(parts)}")
            yield PackedSample(SampleFacts(**json.loads(parts[FACTS])), parts[IMAGE], parts[MASK])
            parts = {}
    if parts:
        raise ShardDamaged(f"sample {stem} lacks a member")
