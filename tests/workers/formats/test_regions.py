"""Outlines and run lengths of any mask are exact: compared with pixels counted one by one, and with pycocotools; and
the same whether compiled code makes them or not."""

import shutil
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools import mask as coco_mask
from scipy import ndimage

from workers.formats import regions as regions_module
from workers.formats import runs as runs_module
from workers.formats import tracing
from workers.formats.regions import Region, regions
from workers.formats.runs import encode_classes

Mask = npt.NDArray[np.uint8]

needs_compiler = pytest.mark.skipif(
    not (shutil.which("cc") or shutil.which("gcc")), reason="without a C compiler nothing is built"
)


@pytest.fixture(params=["compiled", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to trace a mask, one after the other."""
    if request.param == "plain":
        without_compiled_code(monkeypatch)
    elif tracing.availability() != "available":
        pytest.skip("no compiled code")


def without_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions_module, "trace_regions", lambda *_: None)
    monkeypatch.setattr(runs_module, "run_lengths", lambda *_: None)


def masks() -> list[Mask]:
    random = np.random.default_rng(5)
    noise = [random.integers(0, classes, (17, 23)).astype(np.uint8) for classes in (2, 3, 6)]
    blobs = [(ndimage.gaussian_filter(random.normal(size=(48, 40)), 2) > limit).astype(np.uint8) for limit in (0, 0.1)]
    rings = np.zeros((30, 30), np.uint8)
    for value, (first, last) in enumerate([(1, 29), (3, 27), (6, 24), (9, 21), (12, 18)]):
        rings[first:last, first:last] = value % 2
    full, single = np.ones((5, 9), np.uint8), np.zeros((6, 6), np.uint8)
    single[0, 5] = 1
    return [*noise, *blobs, rings, full, single]


def enclosed(corners: npt.NDArray[np.int32], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Pixels inside by the even-odd rule. Borders run between pixels: only upright ones are crossed on the way left."""
    inside = np.zeros(shape, bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        rows = slice(min(y1, y2), max(y1, y2))
        if x1 == x2:
            inside[rows, x1:] ^= True
        elif y1 != y2:  # a slanted seam, there and back
            for row in range(rows.start, rows.stop):
                inside[row, int(np.ceil(x1 + (row + 0.5 - y1) * (x2 - x1) / (y2 - y1) - 0.5)) :] ^= True
    return inside


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("mask", masks())
def test_regions_are_the_connected_ones(mask: Mask) -> None:
    for value in np.unique(mask).tolist():
        numbered, count = ndimage.label(mask == value, structure=np.ones((3, 3)))
        found = regions(mask, [value])
        assert len(found) == count
        numbers = set()
        for region in found:
            inside = enclosed(region.outline, mask.shape)
            [number] = np.unique(numbered[inside])
            assert (inside == (numbered == number)).all()
            rows, columns = np.nonzero(inside)
            assert region.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert (region.pixels, region.value) == (inside.sum(), value)
            numbers.add(number)
            # From the topmost corner, of those the leftmost one; downwards, and around holes the other way.
            assert region.outline[0].tolist() == [columns[rows == rows.min()].min(), rows.min()]
            (x, y), (to_x, to_y) = region.outline.T, np.roll(region.outline, -1, axis=0).T
            assert (x * to_y - to_x * y).sum() == -2 * region.pixels
        assert len(numbers) == count
        starts = [(y, x) for x, y in (region.outline[0].tolist() for region in found)]
        assert starts == sorted(starts)


@pytest.mark.usefixtures("way")
def test_classes_are_traced_together_as_they_are_alone() -> None:
    [_, _, mask, *_] = masks()
    together = regions(mask, [4, 1, 9, 2])
    alone = [region for value in (4, 1, 9, 2) for region in regions(mask, [value])]
    assert [region.value for region in together] == [region.value for region in alone]
    for one, other in zip(together, alone, strict=True):
        assert (one.outline == other.outline).all()
        assert (one.box, one.pixels) == (other.box, other.pixels)


@pytest.mark.usefixtures("way")
def test_a_mask_without_the_class_has_no_regions() -> None:
    assert regions(np.zeros((4, 4), np.uint8), [1, 2]) == []
    assert encode_classes(np.zeros((4, 4), np.uint8), [1, 2]) == {}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("mask", masks())
def test_run_lengths_are_those_of_pycocotools(mask: Mask) -> None:
    found = encode_classes(mask, range(256))
    assert sorted(found) == np.unique(mask).tolist()
    for value, rle in found.items():
        assert rle == coco_mask.encode(np.asfortranarray(mask == value).view(np.uint8))


def told(found: list[Region]) -> list[object]:
    return [(region.value, region.outline.tolist(), region.pixels, tuple(region.box)) for region in found]


@needs_compiler
def test_the_compiled_code_is_built() -> None:
    assert tracing.availability() == "available"


@needs_compiler
@pytest.mark.parametrize("seed", range(60))
def test_both_ways_give_the_same_bytes(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 48, 2)
    noise = random.integers(0, 1 + random.integers(1, 6), (height, width)).astype(np.uint8)
    smooth = ndimage.gaussian_filter(random.normal(size=(height, width)), random.uniform(0.4, 2))
    levels = np.clip(5 * smooth + 2, 0, 255).astype(np.uint8)
    for mask in (noise, levels, np.asfortranarray(levels), levels[::2, 1::2].copy(), levels[:, ::-1]):
        if not mask.size:
            continue
        values = random.permutation(7)[: random.integers(0, 8)].tolist()
        compiled = told(regions(mask, values)), encode_classes(mask, values)
        with monkeypatch.context() as patch:
            without_compiled_code(patch)
            assert (told(regions(mask, values)), encode_classes(mask, values)) == compiled


@needs_compiler
@pytest.mark.parametrize("side", [3, 64, 300])
def test_compiled_code_has_room_for_any_noise(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pixels of two classes take turns, every one of them is a corner, a hole and a run."""
    monkeypatch.setattr(regions_module, "_regions_by_opencv", None)
    monkeypatch.setattr(runs_module, "_encoded_by_pycocotools", None)
    places = np.indices((side, side))
    turns = (places.sum(axis=0) % 2).astype(np.uint8)
    holes = (places % 2).all(axis=0).astype(np.uint8)
    noise = np.random.default_rng(side).integers(0, 256, (side, side)).astype(np.uint8)
    for mask in (turns, holes, noise):
        found = regions(mask, range(256))
        assert sum(region.pixels for region in found) == mask.size
        for value, rle in encode_classes(mask, range(256)).items():
            assert (coco_mask.decode(rle) == (mask == value)).all()


@pytest.mark.usefixtures("way")
def test_values_that_no_mask_has_are_not_found() -> None:
    mask = np.array([[255, 0], [1, 1]], np.uint8)
    values = [1, 300, 1, -1, 255]
    assert [(region.value, region.pixels) for region in regions(mask, values)] == [(1, 2), (255, 1)]
    assert list(encode_classes(mask, values)) == [1, 255]


def test_outlines_are_written_as_they_are() -> None:
    random = np.random.default_rng(0)
    outlines = [random.integers(0, 10**digits, (points, 2)).astype(np.int32) for digits, points in [(1, 4), (3, 50)]]
    outlines += [np.array([[0, 2**31 - 1], [10, 9]], np.int32), np.array([[100, 0]], np.int32)]
    plain = [",".join(map(str, outline.ravel().tolist())) for outline in outlines]
    assert tracing.outline_texts(outlines) == plain


@pytest.fixture
def fresh_library() -> Iterator[None]:
    tracing._library.cache_clear()
    yield
    tracing._library.cache_clear()


@needs_compiler
@pytest.mark.usefixtures("fresh_library")
def test_code_of_another_version_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_REGION_INTS", 9)
    assert tracing.availability() == "built from another version"
    assert regions(np.ones((2, 2), np.uint8), [1])[0].pixels == 4


@pytest.mark.usefixtures("fresh_library")
def test_without_the_code_masks_are_traced_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tracing, "__file__", str(tmp_path / "tracing.py"))
    assert tracing.availability() == "not built"
    assert tracing.outline_texts([np.zeros((4, 2), np.int32)]) is None
    assert regions(np.ones((2, 2), np.uint8), [1])[0].pixels == 4
    tracing._library.cache_clear()
    (tmp_path / f"_tracing{EXTENSION_SUFFIXES[0]}").write_bytes(b"no code")
    assert tracing.availability().startswith("cannot be loaded: ")
    assert list(encode_classes(np.ones((2, 2), np.uint8), [1])) == [1]
