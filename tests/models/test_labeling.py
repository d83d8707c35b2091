from dataclasses import fields
from weakref import ref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.folding import GROUP_WIDTH
from models.heads.segmentation import jensen_shannon, vote
from models.label_maps import vote_and_diverge
from models.labeler import Labeler, LabelerArchitecture, Labels
from models.labeling import LabelingKernel
from models.labels import LabelLayout
from models.pixel_network import DECODING_SHARE, PixelNetwork
from models.upsampling import bands, interpolation, widen

EVERYTHING = LabelLayout(classes=4, points=3, depth=(1.0, 5.0), attributes=(2, 5))
BEARS = LabelLayout(classes=10)
TO_16 = ((8, 4), (8, 8), (6, 8), (5, 16), (4, 16))
TO_64 = ((12, 4), (12, 8), (12, 8), (10, 16), (10, 16), (6, 32), (6, 32), (4, 64), (4, 64))
TO_128 = (*TO_64, (3, 128), (3, 128))

Levels = tuple[tuple[int, int], ...]


def make(
    levels: Levels,
    resolution: int,
    layout: LabelLayout = EVERYTHING,
    members: int = 3,
    hidden: tuple[int, ...] = (8, 6),
    shared: int = 0,
    batch: int = 3,
) -> tuple[Labeler, list[Tensor]]:
    """A labeler with random weights, and features whose channels differ in mean and spread as those of a generator."""
    torch.manual_seed(sum(hidden) + shared + members)
    features = []
    for channels, side in levels:
        values = torch.randn(batch, channels, side, side) * (torch.rand(channels) * 3 + 0.2)[:, None, None]
        features.append((values + torch.randn(channels)[:, None, None]).to(memory_format=torch.channels_last))
    channels, sides = zip(*levels, strict=True)
    labeler = Labeler(LabelerArchitecture(channels, sides, resolution, layout, members, hidden, shared))
    labeler.requires_grad_(False).standardise(features)
    for name, parameter in labeler.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(parameter, std=0.3)
        if name == "output.weight":
            parameter.mul_(4)  # as sure of itself as a trained one
    labeler.depth_center.fill_(3.0)
    labeler.depth_scale.fill_(0.5)
    return labeler, features


def materialised(labeler: Labeler, features: list[Tensor]) -> Tensor:
    """Outputs (B, M, K + P + D, H, W) in float64: the hypercolumn at full resolution, one member after another."""
    architecture, columns = labeler.architecture, []
    for level, feature in enumerate(features):
        center, scale = labeler.get_buffer(f"center_{level}").double(), labeler.get_buffer(f"scale_{level}").double()
        values = (feature.double() - center[:, None, None]) / scale[:, None, None]
        side = architecture.resolution
        columns.append(F.interpolate(values, size=(side, side), mode="bilinear", align_corners=False))
    hypercolumn = torch.cat(columns, dim=1).permute(0, 2, 3, 1)
    layers = [(torch.cat([w.flatten(1) for w in labeler.project], dim=1).double(), labeler.project_bias.double())]
    layers += [(layer.weight.flatten(1).double(), layer.bias.double()) for layer in [*labeler.layers, labeler.output]]
    outputs = []
    for member in range(architecture.members):
        x = hypercolumn
        for place, (weight, bias) in enumerate(layers):
            whole = architecture.shared and place == 0
            own = (weight, bias) if whole else (t.chunk(architecture.members)[member] for t in (weight, bias))
            x = F.linear(x if place == 0 else F.relu(x), *own)
        outputs.append(x.permute(0, 3, 1, 2))
    return torch.stack(outputs, dim=1)


def assert_same_labels(got: Labels, expected: Labels, atol: float = 1e-4) -> None:
    for name in (field.name for field in fields(Labels) if field.name != "kinds"):
        a, b = getattr(got, name), getattr(expected, name)
        assert (a is None) == (b is None), name
        if b is None:
            continue
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
        if name == "masks":
            assert (a == b).float().mean() >= 0.999
        else:
            assert torch.allclose(a, b, atol=atol), name
    assert list(got.kinds) == list(expected.kinds)
    assert all(torch.allclose(got.kinds[kind], expected.kinds[kind], atol=atol) for kind in expected.kinds)


@pytest.mark.parametrize(
    ("levels", "resolution", "layout", "members", "hidden", "shared"),
    [
        (TO_16, 16, EVERYTHING, 3, (8, 6), 0),
        (TO_16, 16, LabelLayout(classes=2), 1, (8,), 0),
        (TO_16, 16, LabelLayout(classes=2), 3, (GROUP_WIDTH,), 0),
        (TO_16, 32, LabelLayout(classes=20, depth=(0.0, 9.0)), 10, (7,), 9),
        (TO_64, 64, BEARS, 10, (GROUP_WIDTH // 4, 32), 0),
        (TO_64, 64, EVERYTHING, 6, (16, 8), 24),
        (TO_64, 64, LabelLayout(points=5), 2, (16, 8, 8), 0),
        (TO_128, 128, BEARS, 2, (GROUP_WIDTH, 8), 0),
        (TO_128, 128, LabelLayout(depth=(0.0, 1.0)), 4, (8, 8, 8), 16),
        (TO_64[2:], 96, BEARS, 5, (12, 8), 0),
    ],
)
def test_labels_are_those_of_the_materialised_hypercolumn(
    levels: Levels, resolution: int, layout: LabelLayout, members: int, hidden: tuple[int, ...], shared: int
) -> None:
    labeler, features = make(levels, resolution, layout, members, hidden, shared, batch=2)
    kernel = LabelingKernel(labeler, torch.float32)
    expected = materialised(labeler, features)
    difference = (kernel.pixel_outputs(features).double() - expected).abs().max()
    assert difference < 1e-4 * expected.abs().max()
    assert_same_labels(kernel.label(features), labeler.label(features))
    confidence = kernel.confidence(features)
    assert (confidence is None) == (not layout.classes)
    if layout.classes:
        most, voted = expected[:, :, : layout.classes].softmax(dim=2).mean(dim=1).max(dim=1)
        assert (kernel.label(features).masks == voted).float().mean() >= 0.999
        assert torch.allclose(confidence.double(), most, atol=1e-4)


@pytest.mark.parametrize("shared", [0, 24])
def test_bfloat16_keeps_nearly_all_labels(shared: int) -> None:
    labeler, features = make(TO_64, 64, BEARS, members=6, hidden=(32, 16), shared=shared)
    single = LabelingKernel(labeler, torch.float32).label(features)
    half = LabelingKernel(labeler, torch.bfloat16).label([f.bfloat16() for f in features])
    sure = single.pixel_uncertainty < single.pixel_uncertainty.median()
    assert (single.masks == half.masks).float().mean() > 0.98
    assert (single.masks == half.masks)[sure].float().mean() > 0.99
    assert torch.allclose(single.uncertainty, half.uncertainty, rtol=0.02)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_channels_that_never_change_leave_labels_as_they_are(precision: torch.dtype) -> None:
    labeler, features = make(TO_16, 16, BEARS, hidden=(32,))
    for feature in features:
        feature[:, 0] = 1.37 + 1e-6 * torch.randn_like(feature[:, 0])
    labeler.standardise(features)
    single = LabelingKernel(labeler, torch.float32).label(features)
    half = LabelingKernel(labeler, precision).label([f.to(precision) for f in features])
    assert (single.masks == half.masks).float().mean() > 0.98


@pytest.mark.parametrize("budget", [1, 2**18, 2**21])
def test_bands_of_any_height_say_the_same(budget: int) -> None:
    labeler, features = make(TO_64[2:], 96, EVERYTHING, members=4, hidden=(16, 8))
    whole, banded = (LabelingKernel(labeler, torch.float32, b) for b in (2**30, budget))
    assert whole.network.height == 96
    assert banded.network.height < 96
    assert banded.network.height == 1 or budget > 1
    assert_same_labels(banded.label(features), whole.label(features), atol=1e-5)


def test_the_buffers_use_the_budget_and_no_more() -> None:
    labeler, _ = make(TO_128, 128, BEARS, members=10, hidden=(32, 16))
    for budget in (2**22, 2**24):
        kernel = LabelingKernel(labeler, torch.float32, budget)
        held = sum(t.numel() * t.element_size() for t in vars(kernel.network).values() if isinstance(t, Tensor))
        assert held <= budget
        taller = LabelingKernel(labeler, torch.float32, 4 * budget).network.height
        assert kernel.network.height < taller or taller == 128


@pytest.mark.parametrize(("images", "rows", "budget"), [(2, 16, 2**21), (1, 8, 2**19), (1, 2, 2**17)])
def test_decoding_goes_by_parts_within_its_share_of_the_budget(images: int, rows: int, budget: int) -> None:
    labeler, features = make(TO_16, 16, EVERYTHING, batch=5)
    kernel, expected = LabelingKernel(labeler, torch.float32, budget), materialised(labeler, features)
    seen = torch.zeros(5, 16, dtype=torch.int64)
    for tile in kernel.network.tiles(features):
        assert tile.outputs.shape[2:4] == (min(images, 5 - tile.images.start), rows)
        assert 3 * tile.outputs.nbytes <= budget / DECODING_SHARE
        there = tile.outputs.permute(2, 0, 1, 3, 4).double()
        assert torch.allclose(there, expected[tile.images, :, :, tile.rows], atol=1e-4)
        seen[tile.images, tile.rows] += 1
    assert (seen == 1).all()
    assert kernel.network.together * kernel.network.height > images * rows
    assert_same_labels(kernel.label(features), labeler.label(features))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("budget", [None, 2**22])
def test_an_image_gets_the_same_bytes_anywhere_in_a_batch(precision: torch.dtype, budget: int | None) -> None:
    labeler, features = make(TO_64, 64, EVERYTHING, members=4, hidden=(32, 8), batch=4)
    features = [f.to(precision) for f in features]
    kernel = LabelingKernel(labeler, precision, budget)
    together = kernel.label(features)
    order = torch.tensor([2, 0, 3, 1])
    other = kernel.label([f[order] for f in features])
    for field in fields(Labels):
        a, b = getattr(together, field.name), getattr(other, field.name)
        for left, right in [(a[kind], b[kind]) for kind in a] if isinstance(a, dict) else [(a, b)]:
            assert torch.equal(left[order], right), field.name


def test_what_is_most_uncertain_is_ignored_on_request() -> None:
    labeler, features = make(TO_16, 16)
    kernel = LabelingKernel(labeler, torch.float32)
    plain, ignoring = kernel.label(features), kernel.label(features, ignore_fraction=0.125)
    left_out = ignoring.masks == 255
    assert (left_out.flatten(1).sum(dim=1) == 32).all()
    assert torch.equal(plain.masks[~left_out], ignoring.masks[~left_out])
    for hidden, map_ in zip(left_out, plain.pixel_uncertainty, strict=True):
        assert map_[hidden].min() >= map_[~hidden].max()
    assert not (plain.masks == 255).any()


def test_a_labeler_of_attributes_alone_needs_no_bands() -> None:
    labeler, features = make(TO_16, 16, LabelLayout(attributes=(3, 2)))
    assert_same_labels(LabelingKernel(labeler, torch.float32).label(features), labeler.label(features))


def test_features_may_lie_channels_first() -> None:
    labeler, features = make(TO_16, 16)
    kernel = LabelingKernel(labeler, torch.float32)
    first = kernel.label([f.contiguous() for f in features])
    assert_same_labels(first, kernel.label(features), atol=0)


def test_running_out_of_memory_halves_the_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    labeler, features = make(TO_64, 64, BEARS)
    kernel = LabelingKernel(labeler, torch.float32)
    expected, asked = kernel.label(features), []
    run = PixelNetwork._first_layer

    def scarce(self: PixelNetwork, *arguments: object) -> Tensor:
        asked.append(self.height)
        if self.height > 16:
            raise torch.OutOfMemoryError("no memory for bands of this height")
        return run(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(PixelNetwork, "_first_layer", scarce)
    assert_same_labels(kernel.label(features), expected, atol=1e-5)
    assert sorted(set(asked), reverse=True) == [64, 32, 16]
    assert kernel.network.height == 16

    monkeypatch.setattr(PixelNetwork, "_first_layer", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(torch.OutOfMemoryError):
        kernel.label(features)


def test_smaller_tiles_are_made_once_the_memory_of_the_larger_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    labeler, features = make(TO_16, 16)
    kernel = LabelingKernel(labeler, torch.float32)
    run, plan, held = PixelNetwork._first_layer, PixelNetwork._plan, []
    assert kernel.network.height > 8  # planned before anything is watched

    def scarce(self: PixelNetwork, *arguments: object) -> Tensor:
        if self.height > 8:
            in_work = torch.zeros(1)
            held.append(ref(in_work))
            raise torch.OutOfMemoryError
        return run(self, *arguments)  # type: ignore[arg-type]

    def planned(self: PixelNetwork, height: int, together: int) -> None:
        assert held[-1]() is None
        plan(self, height, together)

    monkeypatch.setattr(PixelNetwork, "_first_layer", scarce)
    monkeypatch.setattr(PixelNetwork, "_plan", planned)
    assert kernel.label(features).masks is not None
    assert held


@pytest.mark.parametrize("budget_bytes", [2**18, 3 * 2**18, 5 * 2**18, 2**30])
def test_batches_of_a_power_of_two_fill_their_tiles(budget_bytes: int) -> None:
    labeler, features = make(TO_16, 16, batch=16)
    network = LabelingKernel(labeler, torch.float32, budget_bytes).network
    assert len({tile.outputs.shape for tile in network.tiles(features)}) == 1


def test_votes_and_divergences_are_those_of_the_plain_functions() -> None:
    torch.manual_seed(3)
    logits = torch.randn(5, 7, 11, 13) * torch.tensor([0.1, 1.0, 10.0, 60.0, 200.0])[:, None, None, None]
    log_p = logits.double().log_softmax(dim=1).unsqueeze(0)
    index, divergence = vote_and_diverge(logits.clone())
    assert index.dtype == torch.uint8
    assert torch.equal(index, vote(log_p, dim=2)[0].to(torch.uint8))
    assert torch.allclose(divergence.double(), jensen_shannon(log_p, dim=2)[0], atol=1e-5)


def test_of_classes_that_are_equally_likely_the_first_is_voted_for() -> None:
    logits = torch.zeros(2, 256, 4)
    logits[:, [3, 200], 1] = 5.0
    logits[:, 255, 2] = 5.0
    logits[0, 7, 3] = logits[1, 5, 3] = 5.0
    index, divergence = vote_and_diverge(logits)
    assert index.tolist() == [0, 3, 255, 5]
    assert torch.allclose(divergence[:3], torch.zeros(3), atol=1e-6)
    assert divergence[3] > 0.1


@pytest.mark.parametrize(("side", "resolution"), [(4, 32), (16, 32), (8, 48), (32, 32)])
def test_bands_upsample_as_interpolation_does(side: int, resolution: int) -> None:
    torch.manual_seed(4)
    small = torch.randn(side, side, 5, dtype=torch.float64)
    expected = F.interpolate(small.permute(2, 0, 1)[None], size=(resolution, resolution), mode="bilinear")[0]
    across = torch.empty(side, resolution, 5, dtype=torch.float64)
    widen(small[None], across[None])
    among_others = torch.zeros(2, side + 3, resolution, 5, dtype=torch.float64)
    widen(torch.stack([small, 2 * small]), among_others[:, 1 : 1 + side])
    assert torch.equal(among_others[:, 1 : 1 + side], torch.stack([across, 2 * across]))
    assert not among_others[:, 0].any()
    assert not among_others[:, 1 + side :].any()
    assert torch.allclose(torch.einsum("xw,hwc->hxc", interpolation(side, resolution), small), across)
    rows = []
    for band in bands(resolution, [side], 7, torch.float64, torch.device("cpu")):
        used = across[band.sources[side]]
        rows.append((band.weights[:, 1:] @ used.flatten(1)).view(band.height, resolution, 5))
        assert (band.weights[:, 0] == 1).all()
    assert torch.allclose(torch.cat(rows).permute(2, 0, 1), expected)
