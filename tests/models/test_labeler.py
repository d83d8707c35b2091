import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.checkpoint import CheckpointError, save_tensors
from models.labeler import HeadOutputs, Labeler, LabelerArchitecture
from models.labels import LabelLayout

CPU = torch.device("cpu")
CHANNELS, SIDES = (6, 5, 5, 3), (4, 8, 8, 16)
EVERYTHING = LabelLayout(classes=4, points=3, depth=(1.0, 5.0), attributes=(2, 5))


def make_labeler(
    layout: LabelLayout = EVERYTHING, members: int = 3, hidden: tuple[int, ...] = (8, 6), shared: int = 0
) -> tuple[Labeler, list[Tensor]]:
    torch.manual_seed(0)
    features = [2 * torch.randn(5, c, s, s) + 1 for c, s in zip(CHANNELS, SIDES, strict=True)]
    architecture = LabelerArchitecture(CHANNELS, SIDES, 32, layout, members, hidden, shared)
    labeler = Labeler(architecture).requires_grad_(False)
    labeler.standardise(features)
    for name, parameter in labeler.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(parameter)
    labeler.depth_center.fill_(3.0)
    labeler.depth_scale.fill_(0.5)
    return labeler, features


def materialised(labeler: Labeler, features: list[Tensor]) -> Tensor:
    """Outputs (B, M, K + P + D, H, W) as the papers describe them, in float64: every level upsampled to the full
    resolution, standardised and concatenated, then one small MLP after another on every pixel."""
    columns = []
    for level, feature in enumerate(features):
        center, scale = labeler.get_buffer(f"center_{level}").double(), labeler.get_buffer(f"scale_{level}").double()
        values = (feature.double() - center[:, None, None]) / scale[:, None, None]
        columns.append(F.interpolate(values, size=(32, 32), mode="bilinear", align_corners=False))
    hypercolumn = torch.cat(columns, dim=1).permute(0, 2, 3, 1)
    first = torch.cat([w.flatten(1) for w in labeler.project], dim=1).double(), labeler.project_bias.double()
    rest = [(layer.weight.flatten(1).double(), layer.bias.double()) for layer in [*labeler.layers, labeler.output]]
    members = labeler.architecture.members
    outputs = []
    for member in range(members):
        layers = [tuple(part.chunk(members)[member] for part in layer) for layer in rest]
        own = first if labeler.architecture.shared else tuple(part.chunk(members)[member] for part in first)
        x = F.relu(F.linear(hypercolumn, *own))
        for weight, bias in layers[:-1]:
            x = F.relu(F.linear(x, weight, bias))
        outputs.append(F.linear(x, *layers[-1]).permute(0, 3, 1, 2))
    return torch.stack(outputs, dim=1)


def of_whole_images(labeler: Labeler, features: list[Tensor]) -> Tensor:
    """Image-level outputs (B, M, 3·P + ΣV), member by member in float64."""
    head = labeler.image
    assert head is not None
    x = torch.cat([f.double().mean(dim=(2, 3)) for f in features], dim=1)
    x = (x - x.mean(dim=0)) / x.std(dim=0, correction=0)
    outputs = []
    for first, first_bias, last, last_bias in zip(head.first, head.first_bias, head.last, head.last_bias, strict=True):
        hidden = F.relu(F.linear(x, first.double(), first_bias.double()))
        outputs.append(F.linear(hidden, last.double(), last_bias.double()))
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize(("hidden", "shared"), [((8, 6), 0), ((8,), 0), ((6,), 10), ((8, 6, 5), 7)])
def test_project_then_upsample_equals_the_materialised_hypercolumn(hidden: tuple[int, ...], shared: int) -> None:
    labeler, features = make_labeler(hidden=hidden, shared=shared)
    outputs = labeler(features)
    classes, heatmaps, depth = materialised(labeler, features).split((4, 3, 1), dim=2)
    assert torch.allclose(outputs.classes.double(), classes, atol=1e-4)
    assert torch.allclose(outputs.heatmaps.double(), heatmaps, atol=1e-4)
    assert torch.allclose(outputs.depth.double(), depth[:, :, 0], atol=1e-4)
    visibility, species, kind = of_whole_images(labeler, features).split((9, 2, 5), dim=2)
    assert torch.allclose(outputs.visibility.double(), visibility.unflatten(2, (3, 3)), atol=1e-4)
    assert [a.shape for a in outputs.attributes] == [(5, 3, 2), (5, 3, 5)]
    assert torch.allclose(torch.cat(outputs.attributes, dim=2).double(), torch.cat([species, kind], dim=2), atol=1e-4)

    labels = labeler.label(features)
    reference = classes.softmax(dim=2).mean(dim=1).argmax(dim=1)
    assert (labels.masks == reference).float().mean() > 0.999
    assert torch.allclose(labels.depth.double(), (depth[:, :, 0].mean(dim=1) * 0.5 + 3).clamp(1, 5), atol=1e-4)
    assert torch.equal(labels.attributes[:, 1], kind.softmax(dim=2).mean(dim=1).argmax(dim=1))
    assert torch.equal(labels.keypoints[..., 2], outputs.visibility.softmax(3).mean(1).argmax(2).float())


@pytest.mark.parametrize(
    ("layout", "kinds"),
    [
        (LabelLayout(classes=4), ("segmentation",)),
        (LabelLayout(points=2), ("keypoints",)),
        (LabelLayout(depth=(0.0, 1.0)), ("depth",)),
        (LabelLayout(attributes=(3,)), ("class",)),
        (LabelLayout(classes=2, attributes=(3, 2)), ("segmentation", "class")),
        (EVERYTHING, ("segmentation", "keypoints", "depth", "class")),
    ],
)
def test_there_are_the_labels_of_the_layout_and_no_others(layout: LabelLayout, kinds: tuple[str, ...]) -> None:
    labeler, features = make_labeler(layout)
    labels = labeler.label(features)
    assert tuple(labels.kinds) == kinds
    there = {
        "segmentation": labels.masks,
        "keypoints": labels.keypoints,
        "depth": labels.depth,
        "class": labels.attributes,
    }
    assert tuple(kind for kind, label in there.items() if label is not None) == kinds
    assert all(value.shape == (5,) for value in labels.kinds.values())
    assert labels.uncertainty.shape == (5,)
    if len(kinds) == 1:
        assert torch.equal(labels.uncertainty, labels.kinds[kinds[0]])


def test_classes_alone_are_those_that_are_said_beside_all_else() -> None:
    labeler, features = make_labeler()
    every, some = labeler.of_pixels(features), labeler.of_pixels(features, classes_only=True)
    assert every.classes is not None and some.classes is not None
    torch.testing.assert_close(some.classes, every.classes)
    assert some.heatmaps is None and some.depth is None


def test_a_labeler_of_attributes_alone_computes_nothing_per_pixel() -> None:
    labeler, features = make_labeler(LabelLayout(attributes=(3,)))
    assert labeler(features).classes is None
    assert not any(name.startswith(("project", "layers", "output")) for name in labeler.state_dict())


def test_half_precision_features_keep_nearly_all_labels() -> None:
    labeler, features = make_labeler()
    single = labeler.label(features).masks
    half = labeler.label([f.bfloat16() for f in features]).masks
    assert (single == half).float().mean() > 0.97


def with_logits(labeler: Labeler, logits: Tensor) -> HeadOutputs:
    """Outputs of which every pixel's logits are these (members, classes)."""
    classes = logits[None, :, :, None, None].expand(5, -1, -1, 32, 32)
    return HeadOutputs(classes, None, None, None, ())


def test_members_that_agree_are_certain() -> None:
    labeler, _ = make_labeler(LabelLayout(classes=3), members=2)
    labels = labeler.decode(with_logits(labeler, torch.tensor([[0.3, 1.0, -2.0], [0.3, 1.0, -2.0]])))
    assert torch.allclose(labels.uncertainty, torch.zeros(5), atol=1e-6)
    assert (labels.masks == 1).all()


def test_two_members_sure_of_different_classes_diverge_by_log_two() -> None:
    labeler, _ = make_labeler(LabelLayout(classes=3), members=2)
    labels = labeler.decode(with_logits(labeler, torch.tensor([[50.0, 0.0, 0.0], [0.0, 50.0, 0.0]])))
    assert torch.allclose(labels.uncertainty, torch.full((5,), math.log(2)), atol=1e-5)


def test_uncertainty_is_the_mean_of_the_most_uncertain_tenth_of_pixels() -> None:
    labeler, features = make_labeler(LabelLayout(classes=4))
    p = labeler(features).classes.double().softmax(dim=2)
    mean = p.mean(dim=1)
    divergence = (p * (p.log() - mean.log().unsqueeze(1))).sum(dim=2).mean(dim=1)
    labels = labeler.label(features)
    assert torch.allclose(labels.pixel_uncertainty.double(), divergence, atol=1e-5)
    worst = divergence.flatten(1).sort(dim=1, descending=True).values[:, : 32 * 32 // 10].mean(dim=1)
    assert torch.allclose(labels.uncertainty.double(), worst, atol=1e-5)


def test_kinds_are_standardised_by_random_samples_before_they_are_averaged() -> None:
    labeler, features = make_labeler(LabelLayout(classes=4, depth=(1.0, 5.0)))
    samples = {"segmentation": torch.tensor([1.0, 2.0, 6.0]), "depth": torch.tensor([10.0, 10.0, 40.0])}
    labeler.standardise_uncertainty(samples)
    labels = labeler.label(features)
    # Medians 2 and 10; mean distances from them (1 + 0 + 4) / 3 and (0 + 0 + 30) / 3.
    expected = ((labels.kinds["segmentation"] - 2) / (5 / 3) + (labels.kinds["depth"] - 10) / 10) / 2
    assert torch.allclose(labels.uncertainty, expected, atol=1e-5)


def test_the_threshold_is_the_quantile_of_the_pilot_samples() -> None:
    labeler, _ = make_labeler()
    pilot = torch.linspace(0, 1, 1001)
    labeler.remember_uncertainty([0.5, 1.0], [pilot, 2 * pilot])
    assert labeler.discard_threshold(0.0, 1.0) == math.inf
    assert labeler.discard_threshold(0.1, 1.0) == pytest.approx(1.8)
    assert labeler.discard_threshold(0.25, 0.5) == pytest.approx(0.75)
    assert labeler.discard_threshold(0.1, 0.75) == pytest.approx(1.35)
    assert labeler.discard_threshold(0.1, 0.2) == pytest.approx(0.9)


@pytest.mark.parametrize("layout", [EVERYTHING, LabelLayout(classes=3), LabelLayout(points=2, attributes=(2,))])
def test_a_labeler_survives_the_disk(layout: LabelLayout, tmp_path: Path) -> None:
    labeler, features = make_labeler(layout, hidden=(6,), shared=8)
    labeler.remember_uncertainty([0.5, 1.0], [torch.rand(100), torch.rand(100)])
    labeler.standardise_uncertainty({kind: torch.rand(100) for kind in labeler.kinds})
    labeler.save(tmp_path / "labeler.safetensors")
    again = Labeler.load(tmp_path / "labeler.safetensors", CPU)
    assert again.architecture == labeler.architecture
    assert again.discard_threshold(0.2, 0.8) == pytest.approx(labeler.discard_threshold(0.2, 0.8))
    ours, theirs = labeler.label(features), again.label(features)
    assert torch.equal(ours.uncertainty, theirs.uncertainty)
    for name in ("masks", "keypoints", "depth", "attributes"):
        label, same = getattr(ours, name), getattr(theirs, name)
        assert (label is None and same is None) or torch.equal(label, same)


def test_a_file_of_another_layout_is_refused_by_name(tmp_path: Path) -> None:
    labeler, _ = make_labeler()
    old = {"feature_channels": [4], "feature_sides": [4], "resolution": 8, "classes": 3, "members": 2, "hidden": [4, 4]}
    save_tensors(tmp_path / "labeler.safetensors", labeler.state_dict(), "labeler", {"architecture": old})
    with pytest.raises(CheckpointError, match=r"labeler\.safetensors"):
        Labeler.load(tmp_path / "labeler.safetensors", CPU)
