"""How right the labels of every kind are: `python -m benchmarks.labels --seeds 50 --members 5 --hidden 24 --shared 48`

Fits toy-bear seeds with a generator as the service does, then inverts renders it has never seen, labels their
reconstructions, and compares with the exact labels of the renders. What is lost is lost by inversion and labeler
together. Inversions can be kept in a folder, so that several labelers are compared in little time. The last line is one
JSON object.
"""

import argparse
import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.bear_domains import add_bears, domain_of, generator_of
from benchmarks.quality.sources import mirror_of, names_of
from models.architecture import Architecture
from models.bears import KEYPOINTS, SPECIES, Domain, Renders
from models.bundle import GeneratorBundle, load_bundle
from models.fitting import FitSettings, StackedLabels
from models.fitting.fit import learn, seed_pictures
from models.fitting.report import held_out_figures, image_figures
from models.fitting.seed_features import SeedFeatures
from models.fitting.twins import flipped_labels, twins_of
from models.inversion.perceptual import PerceptualDistance
from models.inversion.refinement import Inversions, invert
from models.label_quality import accuracy, class_iou, depth_errors, mean_known, pck, risk_coverage
from models.labeler import Labeler, LabelerArchitecture
from models.labels import LabelLayout
from models.pictures import grid, save_png, to_network, to_uint8
from models.provenance import describe_device

HELD_OUT_SEED = 500_000
KINDS = ("segmentation", "keypoints", "depth", "class")


def arguments_of() -> argparse.Namespace:
    """The command line; what is not given is as the service has it."""
    usual = FitSettings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--held-out", type=int, default=48)
    add_bears(parser)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--members", type=int, default=usual.members)
    parser.add_argument("--hidden", type=int, nargs="+", default=list(usual.hidden))
    parser.add_argument("--shared", type=int, default=usual.shared, help="0: a first layer for every member")
    parser.add_argument(
        "--steps",
        type=int,
        default=usual.steps,
        help="of the first labeler, or the only one; with 25 seeds or more and a second round, it has 200",
    )
    parser.add_argument("--second-steps", type=int, default=usual.second_steps, help="of the second round")
    parser.add_argument("--lessons", type=int, default=usual.lessons, help="of the second round; 0 for none")
    parser.add_argument("--keypoint-weight", type=float, default=usual.keypoint_weight)
    parser.add_argument("--depth-weight", type=float, default=usual.depth_weight)
    parser.add_argument("--no-flip", action="store_true", help="learn from the seeds as they are alone")
    parser.add_argument("--fit-seed", type=int, default=usual.seed)
    parser.add_argument("--cache", type=Path, default=None, help="folder to keep inversions in")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--picture", type=Path, default=None, help="PNG: image, reconstruction, truth, prediction")
    return parser.parse_args()


def inverted(bundle: GeneratorBundle, renders: Renders, settings: FitSettings, cache: Path | None) -> Inversions:
    """The renders' inversions, from the folder if they are there."""
    key = hashlib.sha256(repr((settings.refinement, settings.fingerprint()["lpips_weights"])).encode())
    for network in (bundle.generator, bundle.encoder):
        for tensor in network.state_dict().values() if network else ():
            key.update(tensor.cpu().numpy().tobytes())
    key.update(renders.images.tobytes())
    path = cache / f"inversions-{key.hexdigest()[:16]}.npz" if cache else None
    if path is not None and path.exists():
        with np.load(path) as kept:
            return Inversions(**{name: _value(kept[name]) for name in kept.files})
    perceptual = PerceptualDistance(settings.lpips_backbone, settings.lpips_weights)
    images = to_network(renders.images, bundle.device)
    found = invert(bundle, perceptual, images, settings.refinement, lambda *_: None)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{name: np.asarray(value) for name, value in vars(found).items()})
    return found


def _value(array: npt.NDArray[np.generic]) -> Any:
    """A column of inversions, or the one number that goes for all of them."""
    return torch.from_numpy(array) if array.ndim else array.item()


def truth_of(renders: Renders, kinds: list[str]) -> StackedLabels:
    """The exact labels of these kinds."""
    return StackedLabels(
        masks=renders.parts if "segmentation" in kinds else None,
        keypoints=renders.keypoints if "keypoints" in kinds else None,
        depth=renders.depth if "depth" in kinds else None,
        attributes=renders.species.astype(np.int64)[:, None] if "class" in kinds else None,
    )


def layout_of(seeds: Renders, kinds: list[str], domain: Domain) -> LabelLayout:
    """The layout of a project with these kinds of the seeds' labels."""
    return LabelLayout(
        classes=len(domain.parts) if "segmentation" in kinds else 0,
        points=len(KEYPOINTS) if "keypoints" in kinds else 0,
        depth=(float(seeds.depth.min()), float(seeds.depth.max())) if "depth" in kinds else None,
        attributes=(len(SPECIES),) if "class" in kinds else (),
    )


def labeler_mmac(architecture: LabelerArchitecture) -> float:
    """Millions of multiply-adds that labeling one image takes, interpolation not counted."""
    members, widths = architecture.members, architecture.hidden
    first = architecture.shared or members * widths[0]
    native = sum(
        channels * side**2
        for channels, side in zip(architecture.feature_channels, architecture.feature_sides, strict=True)
    )
    pixel = architecture.shared * members * widths[0]
    pixel += members * sum(a * b for a, b in zip(widths, (*widths[1:], architecture.pixel_outputs), strict=True))
    return (first * native + pixel * architecture.resolution**2) / 1e6


def generator_mmac(architecture: Architecture) -> float:
    """Millions of multiply-adds of the convolutions that one image takes."""
    total, before = 0, architecture.channels(4)
    for resolution in architecture.resolutions:
        width = architecture.channels(resolution)
        if resolution > 4:
            total += 9 * before * width * (resolution // 2) ** 2
        total += (9 * width + 3) * width * resolution**2
        before = width
    return total / 1e6


def figures(
    labeler: Labeler, features: SeedFeatures, truth: StackedLabels, domain: Domain
) -> tuple[StackedLabels, dict[str, Any]]:
    """The labels of held-out images, and how right they are."""
    batches = [labeler.label(features.of(rows)) for rows in torch.arange(len(features.codes)).split(8)]
    said = StackedLabels.of_batches(batches)
    found: dict[str, Any] = {}
    if said.masks is not None and truth.masks is not None:
        scores = class_iou(said.masks, truth.masks, len(domain.parts))
        found["mean_iou"] = mean_known(scores)
        named = zip(domain.parts, scores, strict=True)
        found["class_iou"] = {name: None if score is None else round(score, 4) for name, score in named}
    if said.keypoints is not None and truth.keypoints is not None:
        found["pck"] = mean_known(pck(said.keypoints, truth.keypoints, features.bundle.resolution))
        seen, right = (points[..., 2].astype(np.int64) for points in (said.keypoints, truth.keypoints))
        found["visibility_accuracy"] = accuracy(seen, right)
    if said.depth is not None and truth.depth is not None:
        found["depth_rmse"], found["depth_abs_rel"] = depth_errors(said.depth, truth.depth)
    if said.attributes is not None and truth.attributes is not None:
        found["class_accuracy"] = accuracy(said.attributes, truth.attributes)
    uncertainty = torch.cat([batch.uncertainty for batch in batches]).cpu().numpy()
    names, side = names_of(domain), features.bundle.resolution
    each = [image_figures(said, truth, row, names, side) for row in range(len(features.codes))]
    worse = {"mean_iou": -1, "pck": -1, "depth_abs_rel": 1, "class_accuracy": -1}
    for name, sign in worse.items():
        if name in each[0]:
            error = sign * np.array([row[name] for row in each], np.float64) + (sign < 0)
            curve = risk_coverage(uncertainty, error)
            found[f"risk_coverage_{name}"] = {place: round(value, 4) for place, value in curve.items()}
    return said, {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}


def draw(path: Path, held_out: Renders, found: Inversions, masks: np.ndarray[Any, Any], domain: Domain) -> None:
    """Image, reconstruction, true and predicted mask of the first sixteen."""
    colors = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in domain.colors], np.uint8)
    tiles = [held_out.images, to_uint8(found.reconstructions), colors[held_out.parts], colors[masks]]
    save_png(path, grid(np.concatenate([t[:16] for t in tiles]), 16), zoom=2)


def main() -> None:
    """Print how right the labels of held-out renders are, what the fit took and what labeling costs."""
    arguments = arguments_of()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    domain, bundle = domain_of(arguments), load_bundle(generator_of(arguments), torch.device("cpu"))
    settings = replace(
        FitSettings(),
        members=arguments.members,
        hidden=tuple(arguments.hidden),
        shared=arguments.shared,
        steps=arguments.steps,
        second_steps=arguments.second_steps,
        lessons=arguments.lessons,
        keypoint_weight=arguments.keypoint_weight,
        depth_weight=arguments.depth_weight,
        seed=arguments.fit_seed,
    )
    seeds = domain.render(range(1, arguments.seeds + 1), bundle.resolution)
    held_out = domain.render(range(HELD_OUT_SEED, HELD_OUT_SEED + arguments.held_out), bundle.resolution)
    codes = inverted(bundle, seeds, settings, arguments.cache)
    twins = None
    if not arguments.no_flip:
        mirrored = inverted(bundle, replace(seeds, images=seeds.images[:, :, ::-1].copy()), settings, arguments.cache)
        flipped = flipped_labels(truth_of(seeds, arguments.kinds), mirror_of(domain), bundle.resolution)
        twins = twins_of(mirrored, codes, flipped, settings.min_psnr_db)
    started = time.perf_counter()
    found = inverted(bundle, held_out, settings, arguments.cache)
    invert_s = time.perf_counter() - started

    truth, layout = truth_of(seeds, arguments.kinds), layout_of(seeds, arguments.kinds, domain)
    included = [float(psnr) >= settings.min_psnr_db for psnr in codes.psnr_db]
    started, worked = time.perf_counter(), time.process_time()
    pictures = seed_pictures(seeds.images, truth, twins, mirror_of(domain))
    learnt = learn(
        bundle, codes.codes, truth, included, layout, settings, lambda *_: None, twins, codes.misfit, pictures
    )
    fit_s, fit_cpu_s = time.perf_counter() - started, time.process_time() - worked
    features, right = SeedFeatures(bundle, found.codes), truth_of(held_out, arguments.kinds)
    said, quality = figures(learnt.labeler, features, right, domain)
    if arguments.picture and said.masks is not None:
        draw(arguments.picture, held_out, found, said.masks, domain)
    expected = None
    if learnt.held_out is not None:
        rows = learnt.held_out.rows.tolist()
        expected = held_out_figures(learnt.held_out, truth.rows(rows), names_of(domain), bundle.resolution)
        expected = {kind: value for kind, value in expected.items() if kind in KINDS}
        expected.get("segmentation", {}).pop("reliability", None)
    result = {
        "bears": domain.name,
        "seeds": arguments.seeds,
        "kinds": arguments.kinds,
        "members": settings.members,
        "hidden": settings.hidden,
        "shared": settings.shared,
        "steps": settings.second_steps if learnt.lessons else settings.steps,
        "lessons": learnt.lessons,
        "flipped": 0 if twins is None else int(twins.usable.sum()),
        **quality,
        "cross_validated": expected,
        "labeler_mmac": round(labeler_mmac(learnt.labeler.architecture), 1),
        "generator_mmac": round(generator_mmac(bundle.generator.architecture), 1),
        "fit_s": round(fit_s, 1),
        "fit_cpu_s": round(fit_cpu_s, 1),
        "fit_seconds": learnt.seconds,
        "inversion_psnr_db": round(float(found.psnr_db.mean()), 2),
        "inversion_p_norm": round(float(found.p_norm.mean()), 2),
        "inversion_s_per_image": round(invert_s / arguments.held_out, 2),
        "seeds_left_out": included.count(False),
        "device": describe_device(bundle.device),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
