"""Shards as WebDataset tars: a few members a sample, and the same samples always give the same bytes.

Headers are `tarfile`'s, made once: those of members differ in name, size and checksum, and making or reading each of
them anew would cost more than all the rest of packing a sample.
"""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import BinaryIO, ClassVar, Literal, Protocol

from pydantic import ConfigDict, TypeAdapter, ValidationError

IMAGE_SUFFIXES = ("png", "jpg", "webp")
MASK, DEPTH, FACTS = "segmentation.png", "depth.png", "json"
_IMAGES = {f"image.{suffix}": suffix for suffix in IMAGE_SUFFIXES}

Point = tuple[float, float, int]
"""x and y in pixels from the top left corner, and visibility, as `ImageLabels` has them; 0, 0, 0 where the point is not
in the image, or not known, as COCO and YOLO have it."""

Origin = Literal["generated", "seed"]


@dataclass(frozen=True, slots=True)
class SampleFacts:
    """What a shard says about a sample beside its pictures. A label kind that the project does not have is None."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    index: int
    """source × versions of a sample + version; those of seeds follow those of the generated samples."""
    source: int
    """Which generated sample this is, or is an augmented version of; or which seed."""
    version: int
    uncertainty: float
    """Of the sample as a whole: the only label kind's own, or the mean of the kinds', each standardised by its median
    and spread over random samples, so that 0 is usual and more is worse. 0 for a seed, of which nothing is
    predicted."""
    kinds: dict[str, float]
    """The uncertainty of each label kind."""
    class_pixels: list[int] | None = None
    """Pixels of each class in the mask; those marked 255 are in none."""
    keypoints: list[Point] | None = None
    attributes: list[int] | None = None
    """The index of each attribute's value; -1 where it is not known."""
    attempts: int = 1
    """How many candidates were drawn for it; none for a seed."""
    met: bool = True
    """Whether it shows, as it is delivered, what balancing wished of it."""
    origin: Origin = "generated"

    @property
    def stem(self) -> str:
        """What its files are called, without suffix: `000000123`, or `seed_0012`."""
        return f"{self.index:09d}" if self.origin == "generated" else f"seed_{self.source:04d}"


_FIELDS = tuple(field.name for field in fields(SampleFacts))
_FACTS = TypeAdapter(SampleFacts)


@dataclass(frozen=True, slots=True)
class PackedSample:
    """One sample as it lies in a shard: its facts, and the bytes of its files."""

    facts: SampleFacts
    image: bytes
    image_suffix: str = "png"
    """One of `IMAGE_SUFFIXES`."""
    mask: bytes | None = None
    """8-bit palette PNG of class indices; 255 is ignored."""
    depth: bytes | None = None
    """16-bit grey PNG; depth = pixel × the schema's scale, 0 is not known."""

    @property
    def size(self) -> int:
        """Bytes of its pictures."""
        return sum(len(data) for data in (self.image, self.mask, self.depth) if data is not None)


_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 136), slice(148, 156)
"""Where a header has them; all else is the same in every member's."""


def _template() -> bytes:
    """The header of an empty member without name. Owner and time stay 0, so that the bytes depend on the samples
    alone."""
    info = tarfile.TarInfo("")
    info.mode = 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


_TEMPLATE = _template()
_BEFORE_SIZE = _TEMPLATE[_NAME.stop : _SIZE.start]
_BEFORE_CHECKSUM = _TEMPLATE[_SIZE.stop : _CHECKSUM.start]
_BEHIND_CHECKSUM = _TEMPLATE[_CHECKSUM.stop :]
_CHECKSUM_OF_REST = sum(_BEFORE_SIZE + _BEFORE_CHECKSUM + _BEHIND_CHECKSUM) + 8 * ord(" ")
"""In the sum, the checksum counts as blanks."""

_NOTHING = bytes(tarfile.BLOCKSIZE)
_PIECE = 2**20


class Sink(Protocol):
    """What bytes can be written to."""

    def write(self, data: bytes, /) -> object: ...


class ShardWriter:
    """Writes samples to a tar, in the order given. Use as a context manager; leaving it completes the tar."""

    def __init__(self, stream: Sink) -> None:
        """`stream` need not seek or know where it is."""
        self._stream = stream
        self._size = 0

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.complete()

    def complete(self) -> None:
        """Write the end of the tar: two empty blocks, and as many more as make its last record whole."""
        end = 2 * tarfile.BLOCKSIZE
        self._stream.write(bytes(end + -(self._size + end) % tarfile.RECORDSIZE))

    def add(self, blocks: bytes) -> None:
        """Append what `blocks_of` gives for one sample, or for several."""
        self._stream.write(blocks)
        self._size += len(blocks)


def blocks_of(sample: PackedSample) -> bytes:
    """A sample as it stands in a tar: the members `000000123.image.png` (or jpg, webp), as there are labels
    `000000123.segmentation.png` and `000000123.depth.png`, and `000000123.json`; of a seed, `seed_0012.image.png` …

    Raises `ValueError` if one of the facts is not a finite number.
    """
    stem = sample.facts.stem
    blocks: list[bytes] = []
    for name, data in (
        (f"image.{sample.image_suffix}", sample.image),
        (MASK, sample.mask),
        (DEPTH, sample.depth),
        (FACTS, facts_json(sample.facts)),
    ):
        if data is not None:
            blocks += _header(f"{stem}.{name}", len(data)), data, bytes(-len(data) % tarfile.BLOCKSIZE)
    return b"".join(blocks)


def facts_json(facts: SampleFacts) -> bytes:
    """Facts as compact JSON with sorted names. Raises `ValueError` if a number is not finite."""
    values = {name: getattr(facts, name) for name in _FIELDS}
    return json.dumps(values, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()


class ShardDamaged(Exception):
    """A tar that `ShardWriter` did not write, or not to its end."""


def read_shard(stream: BinaryIO) -> Iterator[PackedSample]:
    """The samples of a shard in order, one at a time, from a stream that need not seek. Raises `ShardDamaged`."""
    parts: dict[str, bytes] = {}
    stem = ""
    for name, data in _members(stream):
        member_stem, _, suffix = name.partition(".")
        if parts and member_stem != stem:
            raise ShardDamaged(f"sample {stem} lacks a member")
        stem = member_stem
        if suffix in parts:
            raise ShardDamaged(f"{name} occurs twice")
        parts[suffix] = data
        if suffix == FACTS:  # the last one of a sample
            yield _sample(stem, parts)
            parts = {}
    if parts:
        raise ShardDamaged(f"sample {stem} lacks a member")


def _members(stream: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """Names and contents, up to the tar's end."""
    while (header := _read(stream, tarfile.BLOCKSIZE)) != _NOTHING:
        name = header[_NAME].rstrip(b"\0").decode("latin-1")
        try:
            size = int(header[_SIZE].rstrip(b"\0"), 8)
            is_ours = header == _header(name, size)
        except ValueError:
            is_ours = False
        if not is_ours:
            raise ShardDamaged(f"{name[:40]!r} has no header that we write")
        data = _read(stream, size)
        if _read(stream, -size % tarfile.BLOCKSIZE).strip(b"\0"):
            raise ShardDamaged(f"{name} is longer than its header says")
        yield name, data
    while rest := stream.read(tarfile.RECORDSIZE):
        if rest.strip(b"\0"):
            raise ShardDamaged("there is more behind the end")


def _read(stream: BinaryIO, size: int) -> bytes:
    """So many bytes. No more room is made for them than there are, whatever a header says."""
    data = stream.read(min(size, _PIECE))
    while len(data) < size:
        more = stream.read(min(size - len(data), _PIECE))
        if not more:
            raise ShardDamaged("it breaks off")
        data += more
    return data


def _header(name: str, size: int) -> bytes:
    """A member's header. Raises `ValueError` for a name that is too long or not ASCII, and for 8 GiB and more."""
    path, length = name.encode("ascii"), b"%011o\0" % size
    if len(path) > _NAME.stop or len(length) != _SIZE.stop - _SIZE.start:
        raise ValueError(f"{name!r} of {size} bytes does not fit into a shard")
    checksum = b"%06o\0 " % (_CHECKSUM_OF_REST + sum(path) + sum(length))
    return path.ljust(_NAME.stop, b"\0") + _BEFORE_SIZE + length + _BEFORE_CHECKSUM + checksum + _BEHIND_CHECKSUM


def _sample(stem: str, parts: dict[str, bytes]) -> PackedSample:
    images = [name for name in parts if name in _IMAGES]
    if len(images) != 1 or parts.keys() - {MASK, DEPTH, FACTS, *images}:
        raise ShardDamaged(f"sample {stem} has members {sorted(parts)}")
    try:
        facts = _FACTS.validate_json(parts[FACTS])
    except ValidationError as error:
        raise ShardDamaged(f"the facts of sample {stem} are not those of a sample") from error
    if stem != facts.stem:
        raise ShardDamaged(f"sample {stem} says that it is {facts.stem}")
    return PackedSample(facts, parts[images[0]], _IMAGES[images[0]], parts.get(MASK), parts.get(DEPTH))
