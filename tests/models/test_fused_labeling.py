"""The compiled labeling kernel against the same network in float64, rounded where the kernel rounds."""

import shlex
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import replace
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models import fused_labeling
from models.folding import fold
from models.fused_labeling import FusedPixels, availability, fits, fused
from models.heads.segmentation import jensen_shannon, vote
from models.label_maps import LabelMaps
from models.labeler import Labeler, LabelerArchitecture
from models.labeling import LabelingKernel
from models.labels import LabelLayout
from tests.models.test_labeling import BEARS, EVERYTHING, TO_64, Levels, make


def could_be_built() -> bool:
    """Whether this processor can run the compiled code, and there is a compiler that knows it."""
    cpu = Path("/proc/cpuinfo")
    if not cpu.exists() or "avx512_bf16" not in cpu.read_text():
        return False
    command = [*shlex.split(sysconfig.get_config_var("CC")), "-mavx512bf16", "-xc", "-", "-fsyntax-only"]
    try:
        return subprocess.run(command, input=b"", check=False).returncode == 0
    except OSError:
        return False


COULD_BE_BUILT = could_be_built()
needs_it = pytest.mark.skipif(not COULD_BE_BUILT, reason="takes AVX-512 for bfloat16, and a C compiler that knows it")

TO_16 = ((8, 4), (8, 8), (6, 8), (6, 16), (4, 16))
TO_32 = ((24, 4), (20, 8), (14, 16), (18, 16), (10, 32))
WHOLE_ALONE = ((8, 32), (12, 32))
UNEVEN_SIDES = ((8, 12), (6, 20), (10, 80))
BEARS_OF_ALL_KINDS = LabelLayout(classes=14, points=9, depth=(1.0, 5.0), attributes=(3,))

CASES = [
    (TO_64, 64, BEARS, 3, 24, 48),
    (TO_64, 64, BEARS_OF_ALL_KINDS, 3, 24, 48),
    (TO_16, 16, EVERYTHING, 5, 20, 40),
    (TO_16, 48, EVERYTHING, 2, 9, 64),
    (TO_32, 32, LabelLayout(points=2), 2, 7, 16),
    (TO_32, 32, LabelLayout(depth=(0.0, 9.0)), 1, 96, 128),
    (TO_32, 32, LabelLayout(depth=(0.0, 9.0)), 64, 8, 80),
    (TO_32, 32, LabelLayout(classes=256), 2, 41, 97),
    (WHOLE_ALONE, 32, EVERYTHING, 2, 8, 32),
    (UNEVEN_SIDES, 80, EVERYTHING, 2, 8, 32),
]


def rounded(x: Tensor) -> Tensor:
    return x.bfloat16().double()


def outputs_of(labeler: Labeler, features: list[Tensor]) -> Tensor:
    """Every member's outputs for each pixel, float64 (B, M, K + P + D, H, W)."""
    architecture = labeler.architecture
    (group,) = fold(labeler, torch.float32)
    assert group.expand is not None
    total: Tensor | float = sum(offset.double() for offset in group.offsets.values())
    for side in sorted(set(architecture.feature_sides)):
        of_side: Tensor | None = None
        for feature, weight, own in zip(features, group.levels, architecture.feature_sides, strict=True):
            if own != side:
                continue
            x = feature.double().permute(0, 2, 3, 1) @ rounded(weight)
            of_side = x if of_side is None else of_side + x
            if side < architecture.resolution:
                of_side = rounded(of_side)
        assert of_side is not None
        wide = F.interpolate(of_side.permute(0, 3, 1, 2), size=architecture.resolution, mode="bilinear")
        total = total + wide.permute(0, 2, 3, 1)
    assert isinstance(total, Tensor)
    weight, bias = (t.double() for t in group.expand)
    hidden = F.relu(rounded(F.relu(total)) @ rounded(weight) + bias)
    each = hidden.unflatten(-1, (architecture.members, -1))
    weight, bias = (t.double() for t in group.output)
    return torch.einsum("bhwmi,moi->bmohw", each, weight) + bias[:, :, 0, None, None]


def filled(pixels: FusedPixels, labeler: Labeler, features: list[Tensor]) -> LabelMaps:
    maps = LabelMaps(labeler.architecture, len(features[0]), len(features[0]), torch.device("cpu"))
    assert list(pixels.fill(features, maps)) == [slice(0, len(features[0]))]
    return maps


@needs_it
def test_it_is_built_and_used() -> None:
    assert availability() == "available"
    labeler, _ = make(TO_64, 64, BEARS, hidden=(24,), shared=48)
    assert LabelingKernel(labeler, torch.bfloat16).fused is not None


@needs_it
@pytest.mark.parametrize(("levels", "resolution", "layout", "members", "hidden", "shared"), CASES)
def test_pixels_are_those_of_float64(
    levels: Levels, resolution: int, layout: LabelLayout, members: int, hidden: int, shared: int
) -> None:
    labeler, features = make(levels, resolution, layout, members, (hidden,), shared)
    features = [f.bfloat16() for f in features]
    pixels = fused(labeler, torch.bfloat16)
    assert pixels is not None
    maps, expected = filled(pixels, labeler, features), outputs_of(labeler, features)
    logits, heatmaps = expected[:, :, : layout.classes], expected[:, :, layout.classes :][:, :, : layout.points]
    # Sums of float32 round to another bfloat16 now and then; everywhere else they agree.
    if layout.classes:
        log_p = logits.log_softmax(dim=2)
        assert (maps.masks == vote(log_p, dim=2)).double().mean() > 0.9995
        off = (maps.divergence - jensen_shannon(log_p, dim=2)).abs()
        assert off.median() < 1e-6 and off.mean() < 1e-4 and off.max() < 0.05
    if layout.points:
        off = (maps.heatmaps - heatmaps).abs() / expected.std()
        assert off.median() < 1e-6 and off.mean() < 1e-4 and off.max() < 0.05
    if layout.depth:
        depths = expected[:, :, -1]
        for got, exact in ((maps.depth, depths.mean(dim=1)), (maps.depth_spread, depths.std(dim=1, correction=0))):
            off = (got - exact).abs() / expected.std()
            assert off.median() < 1e-6 and off.mean() < 1e-4 and off.max() < 0.05


@needs_it
def test_labels_are_those_of_the_layered_way() -> None:
    labeler, features = make(TO_64, 64, BEARS_OF_ALL_KINDS, 3, (24,), 48)
    features = [f.bfloat16() for f in features]
    kernel, layered = (LabelingKernel(labeler, torch.bfloat16) for _ in range(2))
    layered.fused = None
    got, expected = kernel.label(features, 0.1), layered.label(features, 0.1)
    exact = LabelingKernel(labeler, torch.float32).label([f.float() for f in features], 0.1)
    assert got.masks is not None and expected.masks is not None and exact.masks is not None
    assert (got.masks == exact.masks).float().mean() >= (expected.masks == exact.masks).float().mean() - 0.001
    assert got.keypoints is not None and exact.keypoints is not None
    assert (got.keypoints[..., :2] - exact.keypoints[..., :2]).abs().median() < 0.02
    assert got.attributes is not None and torch.equal(got.attributes, expected.attributes)
    assert torch.allclose(got.uncertainty, exact.uncertainty, atol=0.05)


@needs_it
def test_an_image_is_labeled_alike_wherever_it_is_and_by_however_many_threads() -> None:
    labeler, features = make(TO_64, 64, BEARS_OF_ALL_KINDS, 3, (24,), 48, batch=5)
    features = [f.bfloat16() for f in features]
    pixels = fused(labeler, torch.bfloat16)
    assert pixels is not None
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = filled(pixels, labeler, features)
        moved = filled(pixels, labeler, [f.roll(2, dims=0) for f in features])
        torch.set_num_threads(3)
        threaded = filled(pixels, labeler, features)
    finally:
        torch.set_num_threads(threads)
    for name in ("masks", "divergence", "heatmaps", "depth", "depth_spread"):
        assert torch.equal(getattr(threaded, name), getattr(whole, name)), name
        assert torch.equal(getattr(moved, name), getattr(whole, name).roll(2, dims=0)), name


@needs_it
def test_heatmaps_that_do_not_fit_at_once_are_decoded_by_and_by() -> None:
    labeler, features = make(TO_16, 16, EVERYTHING, 3, (8,), 16, batch=5)
    features = [f.bfloat16() for f in features]
    at_once = LabelingKernel(labeler, torch.bfloat16)
    by_and_by = LabelingKernel(labeler, torch.bfloat16, budget_bytes=2 * 4 * 3 * 3 * 16**2)
    assert by_and_by.fused is not None and by_and_by.fused.together(by_and_by.budget_bytes) == 2
    keypoints = by_and_by.label(features).keypoints
    assert keypoints is not None and torch.equal(keypoints, at_once.label(features).keypoints)


@needs_it
def test_features_of_another_generator_are_refused_before_anything_is_read() -> None:
    labeler, features = make(TO_16, 16, BEARS, 2, (8,), 16)
    kernel = LabelingKernel(labeler, torch.bfloat16)
    for wrong in (
        [*features[:-1], features[-1][:, :2]],
        [*features[:-1], features[-1][:, :, :8, :8]],
        [*features[:-1], features[-1][:1]],
        features[:-1],
    ):
        with pytest.raises(ValueError, match="features are"):
            kernel.label([f.bfloat16() for f in wrong])


@needs_it
def test_no_images_have_no_labels() -> None:
    labeler, features = make(TO_16, 16, LabelLayout(classes=3), 2, (8,), 16)
    masks = LabelingKernel(labeler, torch.bfloat16).label([f[:0].bfloat16() for f in features]).masks
    assert masks is not None and masks.shape == (0, 16, 16)


@needs_it
@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_no_number_stays_none(sign: int) -> None:
    labeler, features = make(TO_16, 16, BEARS, 2, (8,), 16)
    features[-1][1, :, 3, 5] = sign * torch.nan
    divergence = LabelingKernel(labeler, torch.bfloat16).label([f.bfloat16() for f in features]).pixel_uncertainty
    assert divergence is not None
    assert divergence.isnan().nonzero().tolist() == [[1, 3, 5]]


FITTING = LabelerArchitecture((4, 4), (8, 16), 16, EVERYTHING, 2, (8,), 16)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden": (96,), "shared": 128, "members": 64, "layout": LabelLayout(classes=256, points=64)},
        {"feature_channels": (3,) * 11 + (4,), "feature_sides": tuple(range(5, 17))},
        {"feature_channels": (2,) * 12, "feature_sides": (16,) * 12},
    ],
)
def test_it_takes_what_it_has_room_for(changes: dict[str, object]) -> None:
    assert fits(replace(FITTING, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"shared": 0},
        {"shared": 129},
        {"hidden": (8, 8)},
        {"hidden": (97,)},
        {"members": 65},
        {"layout": LabelLayout(attributes=(3,))},
        {"layout": LabelLayout(classes=256, points=64, depth=(0.0, 1.0))},
        {"resolution": 24},
        {"feature_sides": (8, 32)},
        {"feature_channels": (4, 5)},
        {"feature_channels": (2,) * 13, "feature_sides": (16,) * 13},
        {"feature_channels": (2,) * 13, "feature_sides": tuple(range(4, 17))},
    ],
)
def test_it_takes_nothing_else(changes: dict[str, object]) -> None:
    assert fits(FITTING)
    assert not fits(replace(FITTING, **changes))  # type: ignore[arg-type]


def test_what_it_cannot_do_is_left_to_the_layers() -> None:
    for hidden, shared, precision in (((8,), 16, torch.float32), ((8, 8), 16, torch.bfloat16)):
        labeler, features = make(TO_16, 16, EVERYTHING, 2, hidden, shared)
        assert fused(labeler, precision) is None
        assert LabelingKernel(labeler, precision).label([f.to(precision) for f in features]).masks is not None


@pytest.fixture
def fresh_library() -> Iterator[None]:
    fused_labeling._library.cache_clear()
    yield
    fused_labeling._library.cache_clear()


@needs_it
@pytest.mark.usefixtures("fresh_library")
def test_code_of_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_labeling, "_MOST_SHARED", 256)
    assert availability() == "built from another version"
    labeler, _ = make(TO_16, 16, EVERYTHING, 2, (8,), 16)
    assert LabelingKernel(labeler, torch.bfloat16).fused is None


@pytest.mark.usefixtures("fresh_library")
def test_it_is_said_why_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fused_labeling, "__file__", str(tmp_path / "fused_labeling.py"))
    assert availability() == "not built"
    fused_labeling._library.cache_clear()
    (tmp_path / f"_fused_labeling{EXTENSION_SUFFIXES[0]}").write_bytes(b"no code")
    assert availability().startswith("cannot be loaded: ")
