"""What each lever of inverting real images buys: `python -m benchmarks.inversion --levers shipped steps-100 no-lpips`

Inverts toy-bear renders that no generator has seen, with one lever at a time moved from the shipped settings, and
compares the labels that a labeler fitted on other renders, inverted with the same lever, gives to them with the exact
ones. Time is processor time of one thread. The last line is one JSON object. With `--cache`, a stopped run goes on.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.bear_domains import add_bears, domain_of, generator_of
from benchmarks.inversion.kept import Bench, Measured
from benchmarks.inversion.levers import LEVERS
from benchmarks.labels import HELD_OUT_SEED
from benchmarks.quality.tables import markdown
from models.bundle import load_bundle
from models.inversion.latents import describe_latents
from models.provenance import describe_device

COLUMNS = {
    "psnr_db": "PSNR, dB",
    "psnr_p10_db": "10th percentile",
    "psnr_gain_db": "gain, dB",
    "psnr_gain_error_db": "its standard error",
    "lpips": "LPIPS",
    "p_norm": "P-norm+",
    "layer_spread": "spread of layers",
    "cpu_s": "s an image",
    "time_ratio": "of shipped",
    "mean_iou": "mIoU",
    "gain": "gain an image",
    "gain_error": "its standard error",
}


def arguments_of() -> argparse.Namespace:
    """The command line; the shipped settings are always measured, to compare with."""
    names = [lever.name for lever in LEVERS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--renders", type=int, default=48)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--first-seed", type=int, default=1, help="of the renders that labelers are fitted on")
    parser.add_argument("--levers", nargs="+", choices=names, default=names)
    parser.add_argument("--fit-seeds", type=int, default=2, help="labelers fitted for each lever; 0: no labels")
    add_bears(parser)
    parser.add_argument("--cache", type=Path, default=None, help="folder to keep codes and label quality in")
    return parser.parse_args()


def standard_error(values: npt.NDArray[np.floating], digits: int) -> float:
    """Of the mean of values, rounded."""
    return round(float(values.std() / math.sqrt(len(values))), digits)


def row_of(bench: Bench, measured: Measured, shipped: Measured) -> dict[str, Any]:
    """The figures of one lever. psnr_gain_db, gain: by how much an image's PSNR and mIoU are above what the shipped
    settings give it, mean over images and fit seeds; the errors are its standard error over the images."""
    found = measured.inversions
    psnr_gains = (found.psnr_db - shipped.inversions.psnr_db).numpy()
    spread = (found.codes - found.codes.mean(dim=1, keepdim=True)) / bench.bundle.latents.w_std
    row: dict[str, Any] = {
        "psnr_db": round(float(found.psnr_db.mean()), 2),
        "psnr_p10_db": round(float(found.psnr_db.quantile(0.1)), 2),
        "psnr_gain_db": round(float(psnr_gains.mean()), 2),
        "psnr_gain_error_db": standard_error(psnr_gains, 2),
        "lpips": round(float(found.lpips.mean()), 4),
        "p_norm": round(float(found.p_norm.mean()), 2),
        "layer_spread": round(float(spread.square().mean().sqrt()), 2),
        "cpu_s": round(measured.cpu_s, 3),
        "time_ratio": round(measured.cpu_s / shipped.cpu_s, 2),
    }
    if measured.labels:
        each = np.stack([labels.each for labels in measured.labels])
        gains = (each - np.stack([labels.each for labels in shipped.labels])).mean(axis=0)
        ious = [round(labels.mean_iou, 4) for labels in measured.labels]
        row["mean_iou"], row["mean_iou_by_fit_seed"] = round(float(np.mean(ious)), 4), ious
        row["gain"] = round(float(gains.mean()), 4)
        row["gain_error"] = standard_error(gains, 4)
    return row


def main() -> None:
    """Print a row as soon as it is known, then all as a table, then the JSON object."""
    arguments = arguments_of()
    torch.set_num_threads(1)
    domain, bundle = domain_of(arguments), load_bundle(generator_of(arguments), torch.device("cpu"))
    first = arguments.first_seed
    seeds = domain.render(range(first, first + arguments.seeds), bundle.resolution)
    held_out = domain.render(range(HELD_OUT_SEED, HELD_OUT_SEED + arguments.renders), bundle.resolution)
    bench = Bench(bundle, domain, seeds, held_out, arguments.cache)
    shipped, *others = LEVERS
    reference = bench.measure(shipped, arguments.fit_seeds)
    rows = {shipped.name: row_of(bench, reference, reference)}
    print(shipped.name, json.dumps(rows[shipped.name]), flush=True)
    for lever in others:
        if lever.name in arguments.levers:
            rows[lever.name] = row_of(bench, bench.measure(lever, arguments.fit_seeds), reference)
            print(lever.name, json.dumps(rows[lever.name]), flush=True)
    print(
        markdown(["lever", *COLUMNS.values()], ([n, *(str(r.get(c, "–")) for c in COLUMNS)] for n, r in rows.items()))
    )
    result = {
        "bears": domain.name,
        "renders": arguments.renders,
        "seeds": arguments.seeds,
        "first_seed": first,
        "fit_seeds": arguments.fit_seeds,
        "perceptual_weights": bench.perceptual.source,
        "noise_inputs": bundle.generator.architecture.noise,
        "p_norm_of_random_samples": round(describe_latents(bundle.generator, bundle.latents)["p_norm_mean"], 3),
        "levers": rows,
        "device": describe_device(bundle.device),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
