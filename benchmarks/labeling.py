"""What labeling costs beside making images: `python -m benchmarks.labeling --resolution 256 --classes 19 --members 10`.

Compares, in turns within one run, the bare generator, the generator with the labeling kernel, the generator with the
configuration that projects are fitted with (as it is, and layer by layer where it has a fused kernel), and a plain
implementation that builds the hypercolumn (see `benchmarks.materialised`, also for where the labeler's weights come
from). Peak memory is that of a process each, over what it took to load the networks and make one bare image. The last
line is one JSON object.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from benchmarks.materialised import Materialised, new_labeler, settle
from benchmarks.peak_memory import peak_mb
from models.architecture import Architecture
from models.bundle import GeneratorBundle, load_generator
from models.bundled import bundled_folders
from models.device import choose_device, fast_precision
from models.fitting.settings import FitSettings
from models.fused_labeling import fused
from models.generator import Generator
from models.inversion.latents import LatentStatistics
from models.labeler import Labeler, LabelerArchitecture
from models.labeling import LabelingKernel
from models.pictures import to_uint8
from models.provenance import describe_device
from models.sampling import batch_size

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
console = Console(stderr=True)


@dataclass(frozen=True)
class Work:
    """One generator with latents (B, z_dim) for a batch; precision is that of generator and kernel."""

    generator: Generator
    z: Tensor
    precision: torch.dtype

    def make(self, count: int | None = None, precision: torch.dtype | None = None) -> tuple[Tensor, list[Tensor]]:
        """Images and features of the first `count` latents."""
        codes = self.generator.broadcast(self.generator.mapping(self.z[:count]))
        images, features = self.generator.synthesis(codes, precision or self.precision)
        return images, features

    def bare(self) -> None:
        """Make a batch of images and bring them to main memory."""
        to_uint8(self.make()[0])

    def labeled(self, kernel: LabelingKernel) -> None:
        """The same with labels and scores."""
        images, features = self.make()
        to_uint8(images)
        labels = kernel.label(features)
        assert labels.masks is not None
        labels.masks.cpu(), labels.uncertainty.cpu()

    def materialised(self, peers: Materialised) -> None:
        """The same for one image, as the peers do it, in float32 throughout."""
        images, features = self.make(1, torch.float32)
        to_uint8(images)
        mask, divergence = peers.label(features)
        mask.cpu(), divergence.cpu()


def prepare(arguments: argparse.Namespace) -> Work:
    """The generator asked for, with its latents."""
    torch.manual_seed(0)
    device = choose_device(arguments.device)
    if arguments.generator == "bundled":
        generator = load_generator(bundled_folders()[0] / "weights.safetensors", device)
    else:
        generator = Generator(Architecture(arguments.resolution)).to(device).eval().requires_grad_(False)
    width = generator.architecture.w_dim
    statistics_ = LatentStatistics(
        torch.zeros(width, device=device), torch.ones(width), torch.zeros(width), torch.eye(width)
    )
    size = arguments.batch or batch_size(GeneratorBundle(generator, None, statistics_))
    precision = PRECISIONS[arguments.dtype] if arguments.dtype else fast_precision(device)
    return Work(generator, torch.randn(size, generator.architecture.z_dim).to(device), precision)


def seconds(run: Callable[[], object], device: torch.device, clock: Callable[[], float]) -> float:
    """How long one call takes, to its end on the device."""
    started = clock()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - started


def peak_mb_on(device: torch.device) -> float:
    """The most memory there was: of the device, or of this process."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else peak_mb()


def measure_peak(arguments: argparse.Namespace) -> float:
    """MB that one way of labeling takes, a batch or one image at a time, beyond the networks and one bare image."""
    work = prepare(arguments)
    labeler = _random_labeler(work, arguments)
    peers = Materialised(labeler)
    work.make(1, torch.float32 if arguments.peak == "materialised" else work.precision)
    before = peak_mb_on(work.z.device)
    if arguments.peak == "materialised":
        work.materialised(peers)
    else:
        work.labeled(LabelingKernel(labeler, work.precision))
    return peak_mb_on(work.z.device) - before


def peak_in_child(kind: str) -> float:
    """`measure_peak` in a process of its own, with this one's arguments."""
    command = [sys.executable, "-m", "benchmarks.labeling", *sys.argv[1:], "--peak", kind]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def compare(work: Work, labeler: Labeler, peers: Materialised) -> dict[str, float]:
    """How equal the labels are: in float32, and in the precision of the benchmark, for features of equal latents."""
    exact, fast = LabelingKernel(labeler, torch.float32), LabelingKernel(labeler, work.precision)
    same, same_fast, difference, largest = [], [], 0.0, 0.0
    for row in range(min(2, len(work.z))):
        features = [f[row : row + 1] for f in work.make(row + 1, torch.float32)[1]]
        expected = peers.logits(features)
        mask = expected.softmax(dim=1).mean(dim=0).argmax(dim=0)
        difference = max(difference, float((exact.pixel_outputs(features)[0] - expected).abs().max()))
        largest = max(largest, float(expected.abs().max()))
        same.append((_mask(exact, features) == mask).float().mean())
        same_fast.append((_mask(fast, [f.to(work.precision) for f in features]) == mask).float().mean())
    return {
        "label_agreement": float(torch.stack(same).mean()),
        "label_agreement_fast": float(torch.stack(same_fast).mean()),
        "max_logit_difference": difference,
        "max_logit": largest,
    }


def _mask(kernel: LabelingKernel, features: list[Tensor]) -> Tensor:
    masks = kernel.label(features).masks
    assert masks is not None
    return masks[0]


def gmac_per_image(architecture: LabelerArchitecture) -> tuple[float, float]:
    """Multiply-adds for one image, in 10⁹: of projecting before upsampling, and with the hypercolumn built."""
    pixels, members, hidden = architecture.resolution**2, architecture.members, architecture.hidden
    first = architecture.shared or members * hidden[0]
    behind = architecture.shared * members * hidden[0]
    behind += members * sum(a * b for a, b in zip(hidden, (*hidden[1:], architecture.pixel_outputs), strict=True))
    levels = zip(architecture.feature_channels, architecture.feature_sides, strict=True)
    native = sum(channels * side**2 for channels, side in levels) * first
    built = sum(architecture.feature_channels) * pixels * first
    return (native + pixels * behind) / 1e9, (built + pixels * behind) / 1e9


def measure_rates(
    work: Work, labeler: Labeler, shipped: Labeler, peers: Materialised, rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Images a second of each way, the median of `rounds` in turns."""
    kernel, fitted, layered = (LabelingKernel(each, work.precision) for each in (labeler, shipped, shipped))
    layered.fused = None
    quick = {
        "bare": work.bare,
        "labeled": lambda: work.labeled(kernel),
        "shipped": lambda: work.labeled(fitted),
        "shipped_layered": lambda: work.labeled(layered),
    }
    size, device = len(work.z), work.z.device
    times: dict[str, list[float]] = {name: [] for name in (*quick, "materialised")}
    for way in quick.values():
        seconds(way, device, clock)  # what is allocated and chosen once
    for turn in range(rounds):
        for _ in range(3):
            for name, way in quick.items():
                times[name].append(seconds(way, device, clock) / size)
        times["materialised"].append(seconds(lambda: work.materialised(peers), device, clock))
        medians = {name: f"{statistics.median(values):.4f} s" for name, values in times.items()}
        console.print(f"turn {turn + 1}:", medians)
    return {name: 1 / statistics.median(values) for name, values in times.items()}


def _random_labeler(work: Work, arguments: argparse.Namespace) -> Labeler:
    hidden = tuple(int(width) for width in arguments.width.split(","))
    return new_labeler(
        work.generator.architecture, arguments.classes, arguments.members, hidden, arguments.shared, work.z.device
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, default=256, help="of a generator of configuration f")
    parser.add_argument(
        "--generator", choices=["random", "bundled"], default="random", help="bundled: toy bears at 64²"
    )
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--width", default="256,32", help="hidden layers of a member")
    parser.add_argument("--shared", type=int, default=0, help="width of a projection that all members share; 0: none")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=list(PRECISIONS), default=None, help="default: the device's fastest")
    parser.add_argument("--batch", type=int, default=0, help="images at once; default: as jobs do")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="default: as many as cores")
    parser.add_argument(
        "--clock",
        choices=["wall", "process"],
        default="wall",
        help="process: the processor time of one thread, for a machine that does other work; give --threads 1",
    )
    parser.add_argument("--peak", choices=["labeled", "materialised"], default=None, help=argparse.SUPPRESS)
    return parser.parse_args()


@torch.inference_mode()
def main() -> None:
    """Print the rates, their ratios, peak memory and how equal the labels are."""
    arguments = _arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.peak:
        print(measure_peak(arguments))
        return
    peaks: dict[str, float] = {kind: peak_in_child(kind) for kind in ("labeled", "materialised")}
    work = prepare(arguments)
    labeler = _random_labeler(work, arguments)
    settle(labeler, work.make(2, torch.float32)[1])
    peers = Materialised(labeler)
    fit = FitSettings()
    shipped = new_labeler(
        work.generator.architecture, arguments.classes, fit.members, fit.hidden, fit.shared, work.z.device
    )
    settle(shipped, work.make(2, torch.float32)[1])
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    rates = measure_rates(work, labeler, shipped, peers, arguments.rounds, clock)
    ours, built = gmac_per_image(labeler.architecture)
    labeling_s = 1 / rates["labeled"] - 1 / rates["bare"]
    result: dict[str, Any] = {f"{name}_images_s": round(rate, 3) for name, rate in rates.items()}
    result |= {
        "labeled_to_bare": round(rates["labeled"] / rates["bare"], 3),
        "labeled_to_materialised": round(rates["labeled"] / rates["materialised"], 2),
        "shipped_to_bare": round(rates["shipped"] / rates["bare"], 3),
        "shipped_layered_to_bare": round(rates["shipped_layered"] / rates["bare"], 3),
        "shipped_is_fused": fused(shipped, work.precision) is not None,
        "peak_mb_labeled": round(peaks["labeled"], 1),
        "peak_mb_materialised": round(peaks["materialised"], 1),
        **compare(work, labeler, peers),
        "gflop_per_image": round(2 * ours, 1),
        "gflop_per_image_materialised": round(2 * built, 1),
        "gflop_s_of_labeling": round(2 * ours / labeling_s, 1),
        "shipped": {"members": fit.members, "hidden": fit.hidden, "shared": fit.shared},
        "batch": len(work.z),
        "precision": str(work.precision).removeprefix("torch."),
        "clock": arguments.clock,
        "device": describe_device(work.z.device),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
