"""How right a trained network is on test images with exact labels."""

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality.data import LabeledImages
from benchmarks.quality.training import TrainedNet
from models.device import training_precision
from models.fitting.seed_labels import StackedLabels
from models.label_quality import accuracy, class_iou, depth_errors, mean_known, pck
from models.pictures import to_network

WINDOW = 2
"""Pixels around a heatmap's peak whose centre of mass is the keypoint."""


@torch.inference_mode()
def predict(trained: TrainedNet, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> StackedLabels:
    """What the network says of uint8 images (N, R, R, 3); None for the kinds it does not know."""
    outputs = []
    precision = training_precision(torch.device("cpu"))
    for start in range(0, len(images), 100):
        batch = to_network(images[start : start + 100], torch.device("cpu"))
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            outputs.append(trained.net(batch))
    return decode(trained, torch.cat(outputs))


def decode(trained: TrainedNet, outputs: Tensor) -> StackedLabels:
    """Labels from a network's outputs for N images."""
    kind = trained.net.kind
    if kind == "segmentation":
        return StackedLabels(outputs.argmax(dim=1).to(torch.uint8).numpy(), None, None, None)
    if kind == "class":
        return StackedLabels(None, None, None, outputs.argmax(dim=1, keepdim=True).numpy())
    if kind == "depth":
        return StackedLabels(None, None, (outputs[:, 0] * trained.depth_std + trained.depth_mean).numpy(), None)
    return StackedLabels(None, _peaks(outputs), None, None)


def _peaks(heatmaps: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Keypoints (N, P, 3): the centre of mass of the window around each peak; all are called visible."""
    side = heatmaps.shape[-1]
    mass = heatmaps.flatten(2).softmax(dim=-1)
    peak = mass.argmax(dim=-1)
    centers = torch.arange(side) + 0.5
    x, y = (peak % side).float() + 0.5, (peak // side).float() + 0.5
    near_x = (centers - x.unsqueeze(-1)).abs() <= WINDOW
    near_y = (centers - y.unsqueeze(-1)).abs() <= WINDOW
    window = mass.view_as(heatmaps) * near_y.unsqueeze(-1) * near_x.unsqueeze(-2)
    total = window.sum(dim=(-2, -1))
    places = [(window.sum(dim=-2) * centers).sum(-1) / total, (window.sum(dim=-1) * centers).sum(-1) / total]
    return torch.stack([*places, torch.full_like(total, 2.0)], dim=-1).numpy()


def score(trained: TrainedNet, test: LabeledImages, names: tuple[str, ...]) -> dict[str, object]:
    """The figures of a network's kind: `mean_iou` and `class_iou` (by name), `pck`, `depth_rmse` (in the unit) and
    `depth_abs_rel`, or `class_accuracy`.

    Args:
        names: of the classes of the masks.
    """
    said, truth = predict(trained, test.images), test.labels
    if said.masks is not None and truth.masks is not None:
        found = class_iou(said.masks, truth.masks, len(names))
        return {"mean_iou": mean_known(found), "class_iou": dict(zip(names, found, strict=True))}
    if said.keypoints is not None and truth.keypoints is not None:
        return {"pck": mean_known(pck(said.keypoints, truth.keypoints, test.images.shape[2]))}
    if said.depth is not None and truth.depth is not None:
        rmse, relative = depth_errors(said.depth, truth.depth)
        return {"depth_rmse": rmse, "depth_abs_rel": relative}
    assert said.attributes is not None and truth.attributes is not None
    return {"class_accuracy": accuracy(said.attributes, truth.attributes)}
