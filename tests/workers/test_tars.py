"""Shards: what goes in comes out, byte by byte the same every time, and readable by WebDataset."""

import io
import tarfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
import webdataset

from workers.tars import PackedSample, SampleFacts, ShardDamaged, ShardWriter, blocks_of, read_shard


def samples(count: int, start: int = 0) -> list[PackedSample]:
    return [
        PackedSample(facts(index), b"image %d" % index, mask=b"mask %d" % index)
        for index in range(start, start + count)
    ]


def facts(index: int) -> SampleFacts:
    kinds = {"segmentation": index / 3, "depth": 0.0}
    return SampleFacts(index, index // 2, index % 2, index / 7, kinds, class_pixels=[index, 64 - index])


EVERY_KIND = PackedSample(
    SampleFacts(3, 3, 0, 0.25, {"keypoints": 0.25}, [60, 4], [(1.5, 2.25, 2), (0.0, 0.0, 0)], [1, -1], 7, False),
    b"image",
    "webp",
    b"mask",
    b"depth",
)
IMAGE_ALONE = PackedSample(SampleFacts(4, 4, 0, 0.0, {"class": 0.0}, attributes=[0]), b"image", "jpg")


def tar_of(rows: list[PackedSample]) -> bytes:
    stream = io.BytesIO()
    with ShardWriter(stream) as tar:
        for row in rows:
            tar.add(blocks_of(row))
    return stream.getvalue()


def test_samples_come_back_as_they_went_in() -> None:
    assert list(read_shard(io.BytesIO(tar_of(samples(5, start=120))))) == samples(5, start=120)


def test_the_same_samples_give_the_same_bytes() -> None:
    assert tar_of(samples(4)) == tar_of(samples(4))


@pytest.mark.parametrize("sample", [EVERY_KIND, IMAGE_ALONE], ids=["every kind", "an image alone"])
def test_members_are_those_that_the_labels_ask_for(sample: PackedSample) -> None:
    data = tar_of([sample, sample])
    assert list(read_shard(io.BytesIO(data))) == [sample, sample]
    with tarfile.open(fileobj=io.BytesIO(tar_of([sample]))) as tar:
        suffixes = [name.partition(".")[2] for name in tar.getnames()]
    labels = [name for name, there in (("segmentation.png", sample.mask), ("depth.png", sample.depth)) if there]
    assert suffixes == [f"image.{sample.image_suffix}", *labels, "json"]


def test_facts_that_are_no_numbers_are_not_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        tar_of([PackedSample(SampleFacts(0, 0, 0, float("nan"), {}), b"image")])


def test_owner_time_and_mode_are_fixed() -> None:
    with tarfile.open(fileobj=io.BytesIO(tar_of(samples(1, start=123)))) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == [
        "000000123.image.png",
        "000000123.segmentation.png",
        "000000123.json",
    ]
    assert {(member.mtime, member.uid, member.gid, member.uname, member.mode) for member in members} == {
        (0, 0, 0, "", 0o644)
    }


def test_every_byte_is_as_tarfile_would_write_it() -> None:
    rows = [*samples(3, start=999_999_999 - 3), EVERY_KIND, IMAGE_ALONE, replace(IMAGE_ALONE, image=bytes(70_000))]
    stream = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(tar_of(rows))) as ours,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as theirs,
    ):
        for member in ours.getmembers():
            info = tarfile.TarInfo(member.name)
            info.size = member.size
            theirs.addfile(info, ours.extractfile(member))
    assert tar_of(rows) == stream.getvalue()


def test_a_member_that_does_not_fit_is_not_written() -> None:
    for suffix, complaint in (("p" * 90, "does not fit"), ("pñg", "ascii")):
        with pytest.raises(ValueError, match=complaint):
            tar_of([replace(IMAGE_ALONE, image_suffix=suffix)])


class Outlet(io.RawIOBase):
    """A stream that can be written to, and nothing else."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.data += data
        return len(data)


def test_a_stream_need_not_seek() -> None:
    outlet = Outlet()
    with ShardWriter(outlet) as tar:  # type: ignore[arg-type]
        for row in samples(30):
            tar.add(blocks_of(row))
    assert outlet.data == tar_of(samples(30))
    assert len(outlet.data) % tarfile.RECORDSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(outlet.data)) as whole:
        assert len(whole.getnames()) == 90


def test_webdataset_reads_a_shard(tmp_path: Path) -> None:
    (tmp_path / "shard-00000.tar").write_bytes(tar_of(samples(3)))
    rows = list(webdataset.WebDataset(str(tmp_path / "shard-00000.tar"), shardshuffle=False))
    assert [row["__key__"] for row in rows] == ["000000000", "000000001", "000000002"]
    assert rows[1]["image.png"] == b"image 1"
    assert rows[1]["segmentation.png"] == b"mask 1"


@pytest.mark.parametrize("kept", [700, 1700, 2300])
def test_a_cut_shard_is_noticed_or_ends_early(kept: int) -> None:
    """A tar may be cut between two samples without a trace; then it is the number of samples that tells."""
    whole = samples(3)
    try:
        read = list(read_shard(io.BytesIO(tar_of(whole)[:kept])))
    except ShardDamaged:
        return
    assert read == whole[: len(read)]
    assert len(read) < 3


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("place", [0, 5, 99, 100, 108, 125, 135, 140, 150, 156, 257, 300, 511])
def test_a_header_with_any_other_byte_is_damage(place: int) -> None:
    with pytest.raises(ShardDamaged):
        list(read_shard(io.BytesIO(flipped(tar_of([IMAGE_ALONE]), place))))


@pytest.mark.parametrize("size", [0o77777777777, 0o777777777777])
def test_a_size_that_cannot_be_is_damage_and_takes_no_room(size: int) -> None:
    header = bytearray(tar_of([IMAGE_ALONE])[:512])
    header[124:136] = b"%011o\0" % size if size < 8**11 else b"%012o" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    tracemalloc.start()
    try:
        with pytest.raises(ShardDamaged):
            list(read_shard(io.BufferedReader(io.BytesIO(bytes(header) + bytes(2000)))))  # type: ignore[type-var]
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_what_lies_between_and_behind_members_is_damage() -> None:
    whole = tar_of([IMAGE_ALONE])
    for other in (flipped(whole, 512 + len(IMAGE_ALONE.image)), flipped(whole, len(whole) - 1), whole + b"more"):
        with pytest.raises(ShardDamaged):
            list(read_shard(io.BytesIO(other)))
    assert list(read_shard(io.BytesIO(whole))) == [IMAGE_ALONE]


FACTS = b'{"index":0,"source":0,"version":0,"uncertainty":0.5,"kinds":{}}'


@pytest.mark.parametrize(
    "members",
    [
        {"000000000.image.png": b"x", "000000001.json": FACTS},
        {"000000000.image.png": b"x"},
        {"000000000.json": FACTS},
        {"000000000.image.png": b"x", "000000000.image.jpg": b"x", "000000000.json": FACTS},
        {"000000000.image.png": b"x", "000000000.exe": b"x", "000000000.json": FACTS},
        {"000000001.image.png": b"x", "000000001.json": FACTS},
        {"000000000.image.png": b"x", "000000000.json": b"{}"},
        {"000000000.image.png": b"x", "000000000.json": FACTS.replace(b"0.5", b'"0.5"')},
        {"000000000.image.png": b"x", "000000000.json": FACTS.replace(b"{}", b'{},"more":1')},
        {"000000000.image.png": b"x", "000000000.json": b"no JSON"},
    ],
)
def test_what_is_no_sample_is_damage(members: dict[str, bytes]) -> None:
    stream = io.BytesIO()
    with tarfile.TarFile(fileobj=stream, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with pytest.raises(ShardDamaged, match="sample 00000000"):
        list(read_shard(io.BytesIO(stream.getvalue())))
