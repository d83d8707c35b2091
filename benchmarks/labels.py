"""How right the labels are: `python -m benchmarks.labels --seeds 50`.

Fits toy-bear seeds with the bundled generator as the service does, then inverts renders it has never seen, labels their
reconstructions, and compares with the exact labels of the renders. What is lost is lost by inversion and labeler
together. The last line is one JSON object.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from models.bears import PARTS, render
from models.bears.scene import PART_COLORS
from models.bundle import load_bundle
from models.bundled import bundled_folders
from models.fitting import FitSettings, SeedFeatures, class_iou, fit, mean_iou
from models.inversion.perceptual import PerceptualDistance
from models.inversion.refinement import invert
from models.pictures import grid, save_png, to_network, to_uint8
from models.provenance import describe_device

HELD_OUT_SEED = 500_000


def main() -> None:
    """Print inversion quality and the mean IoU on held-out renders; optionally draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--held-out", type=int, default=32)
    parser.add_argument("--generator", type=Path, default=None, help="folder; default: the bundled toy bears")
    parser.add_argument("--picture", type=Path, default=None, help="PNG: image, reconstruction, truth, prediction")
    arguments = parser.parse_args()
    device = torch.device("cpu")
    bundle = load_bundle(arguments.generator or bundled_folders()[0], device)
    settings = FitSettings()
    seeds = render(range(1, arguments.seeds + 1), bundle.resolution)
    started = time.perf_counter()
    outcome = fit(bundle, seeds.images, seeds.parts, list(PARTS), settings, lambda *_: None)
    fit_s = time.perf_counter() - started

    held_out = render(range(HELD_OUT_SEED, HELD_OUT_SEED + arguments.held_out), bundle.resolution)
    perceptual = PerceptualDistance(settings.lpips_backbone, settings.lpips_weights)
    started = time.perf_counter()
    found = invert(bundle, perceptual, to_network(held_out.images, device), settings.refinement, lambda *_: None)
    invert_s = time.perf_counter() - started
    features = SeedFeatures(bundle, found.codes)
    rows = torch.arange(arguments.held_out).split(8)
    masks = np.concatenate([outcome.labeler.label(features.of(chunk)).masks.numpy() for chunk in rows])
    scores = class_iou(masks, held_out.parts, len(PARTS))
    if arguments.picture:
        colors = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in PART_COLORS], np.uint8)
        tiles = [held_out.images, to_uint8(found.reconstructions), colors[held_out.parts], colors[masks]]
        save_png(arguments.picture, grid(np.concatenate([t[:16] for t in tiles]), 16), zoom=2)
    result = {
        "seeds": arguments.seeds,
        "mean_iou": round(mean_iou(scores), 4),
        "class_iou": {name: round(score or 0.0, 4) for name, score in zip(PARTS, scores, strict=True)},
        "inversion_psnr_db": round(float(found.psnr_db.mean()), 2),
        "inversion_p_norm": round(float(found.p_norm.mean()), 2),
        "inversion_s_per_image": round(invert_s / arguments.held_out, 2),
        "seeds_left_out": sum(not seed["included"] for seed in outcome.report["seeds"]),
        "fit_s": round(fit_s, 1),
        "device": describe_device(device),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
