"""Shards: what goes in comes out, byte by byte the same every time, and readable by WebDataset."""

import io
import tarfile
from pathlib import Path

import pytest
import webdataset

from workers.tars import PackedSample, SampleFacts, ShardDamaged, ShardWriter, read_shard


def samples(count: int, start: int = 0) -> list[PackedSample]:
    return [
        PackedSample(SampleFacts(index, index / 7, [index, 64 - index]), b"image %d" % index, b"mask %d" % index)
        for index in range(start, start + count)
    ]


def tar_of(rows: list[PackedSample]) -> bytes:
    stream = io.BytesIO()
    with ShardWriter(stream) as tar:
        for row in rows:
            tar.add(row)
    return stream.getvalue()


def test_samples_come_back_as_they_went_in() -> None:
    assert list(read_shard(io.BytesIO(tar_of(samples(5, start=120))))) == samples(5, start=120)


def test_the_same_samples_give_the_same_bytes() -> None:
    assert tar_of(samples(4)) == tar_of(samples(4))


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


def test_a_sample_without_a_member_is_damage() -> None:
    stream = io.BytesIO()
    with tarfile.TarFile(fileobj=stream, mode="w") as tar:
        for name in ("000000000.image.png", "000000000.json", "000000001.image.png"):
            tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(ShardDamaged, match="000000000"):
        list(read_shard(io.BytesIO(stream.getvalue())))
