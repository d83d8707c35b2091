import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.labeler import Labeler, LabelerArchitecture

CPU = torch.device("cpu")


def make_labeler(members: int = 3, classes: int = 4) -> tuple[Labeler, list[Tensor]]:
    torch.manual_seed(0)
    channels, sides = (6, 5, 5, 3), (4, 8, 8, 16)
    features = [2 * torch.randn(5, c, s, s) + 1 for c, s in zip(channels, sides, strict=True)]
    labeler = Labeler(LabelerArchitecture(channels, sides, 32, classes, members, (8, 6))).requires_grad_(False)
    labeler.standardise(features)
    for parameter in (labeler.project_bias, labeler.hidden.bias, labeler.logits.bias):
        torch.nn.init.normal_(parameter)
    return labeler, features


def materialised_logits(labeler: Labeler, features: list[Tensor]) -> Tensor:
    """The hypercolumn built as the papers describe it, in float64: every level upsampled to the full resolution,
    standardised and concatenated, then one small MLP after another on every pixel."""
    columns = []
    for level, feature in enumerate(features):
        center, scale = labeler.get_buffer(f"center_{level}").double(), labeler.get_buffer(f"scale_{level}").double()
        values = (feature.double() - center[:, None, None]) / scale[:, None, None]
        columns.append(F.interpolate(values, size=(32, 32), mode="bilinear", align_corners=False))
    hypercolumn = torch.cat(columns, dim=1).permute(0, 2, 3, 1)
    first_weight = torch.cat([w.flatten(1) for w in labeler.project], dim=1).double()
    members = labeler.architecture.members
    outputs = []
    for member in range(members):
        layers = []
        for weight, bias in (
            (first_weight, labeler.project_bias),
            (labeler.hidden.weight.flatten(1), labeler.hidden.bias),
            (labeler.logits.weight.flatten(1), labeler.logits.bias),
        ):
            layers.append((weight.double().chunk(members)[member], bias.double().chunk(members)[member]))
        x = F.relu(F.linear(hypercolumn, *layers[0]))
        x = F.relu(F.linear(x, *layers[1]))
        outputs.append(F.linear(x, *layers[2]).permute(0, 3, 1, 2))
    return torch.stack(outputs, dim=1)


def test_project_then_upsample_equals_the_materialised_hypercolumn() -> None:
    labeler, features = make_labeler()
    expected = materialised_logits(labeler, features)
    assert torch.allclose(labeler(features).double(), expected, atol=1e-4)
    masks = labeler.label(features).masks
    reference = expected.softmax(dim=2).mean(dim=1).argmax(dim=1)
    assert (masks == reference).float().mean() > 0.999


def test_half_precision_features_keep_nearly_all_labels() -> None:
    labeler, features = make_labeler()
    single = labeler.label(features).masks
    brain = labeler.label([f.bfloat16() for f in features]).masks
    assert (single == brain).float().mean() > 0.97


def with_logits(labeler: Labeler, logits: Tensor) -> None:
    """Make every pixel's logits these (members, classes), whatever the features."""
    labeler.logits.weight.zero_()
    labeler.logits.bias.copy_(logits.flatten())


def test_members_that_agree_are_certain() -> None:
    labeler, features = make_labeler(members=2, classes=3)
    with_logits(labeler, torch.tensor([[0.3, 1.0, -2.0], [0.3, 1.0, -2.0]]))
    labels = labeler.label(features)
    assert torch.allclose(labels.uncertainty, torch.zeros(5), atol=1e-6)
    assert (labels.masks == 1).all()


def test_two_members_sure_of_different_classes_diverge_by_log_two() -> None:
    labeler, features = make_labeler(members=2, classes=3)
    with_logits(labeler, torch.tensor([[50.0, 0.0, 0.0], [0.0, 50.0, 0.0]]))
    assert torch.allclose(labeler.label(features).uncertainty, torch.full((5,), math.log(2)), atol=1e-5)


def test_uncertainty_is_the_mean_of_the_most_uncertain_tenth_of_pixels() -> None:
    labeler, features = make_labeler()
    logits = labeler(features).double()
    p = logits.softmax(dim=2)
    mean = p.mean(dim=1)
    divergence = (p * (p.log() - mean.log().unsqueeze(1))).sum(dim=2).mean(dim=1).flatten(1)
    worst = divergence.sort(dim=1, descending=True).values[:, : 32 * 32 // 10].mean(dim=1)
    assert torch.allclose(labeler.label(features).uncertainty.double(), worst, atol=1e-5)


def test_the_threshold_is_the_quantile_of_the_pilot_samples() -> None:
    labeler, _ = make_labeler()
    pilot = torch.linspace(0, 1, 1001)
    labeler.remember_uncertainty([0.5, 1.0], [pilot, 2 * pilot])
    assert labeler.discard_threshold(0.0, 1.0) == math.inf
    assert labeler.discard_threshold(0.1, 1.0) == pytest.approx(1.8)
    assert labeler.discard_threshold(0.25, 0.5) == pytest.approx(0.75)
    assert labeler.discard_threshold(0.1, 0.75) == pytest.approx(1.35)
    assert labeler.discard_threshold(0.1, 0.2) == pytest.approx(0.9)


def test_a_labeler_survives_the_disk(tmp_path: Path) -> None:
    labeler, features = make_labeler()
    labeler.remember_uncertainty([0.5, 1.0], [torch.rand(100), torch.rand(100)])
    labeler.save(tmp_path / "labeler.safetensors")
    again = Labeler.load(tmp_path / "labeler.safetensors", CPU)
    assert torch.equal(again(features), labeler(features))
    assert again.discard_threshold(0.2, 0.8) == pytest.approx(labeler.discard_threshold(0.2, 0.8))
