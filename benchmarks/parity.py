"""Whether an imported StyleGAN2 is the one that its authors' code runs:
`python -m benchmarks.parity --nvidia stylegan2-ada-pytorch --stylegan3 stylegan3 --rosinality stylegan2-pytorch`.

Takes checkouts of the public repositories and runs their code in a process of its own (see `their_generators`). That
process makes networks with random weights, saves them as those repositories do, and notes w, the outputs of all style
blocks and ToRGBs, and the images. Then labelmint's import takes the files, and what comes out of it the same latents.
Nothing has to be downloaded beside the checkouts, and no GPU is needed. The last line is one JSON object.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.their_generators import CHECKPOINT, RECORD
from models.checkpoint import CheckpointError
from models.device import choose_device
from models.foreign.importing import import_checkpoint
from models.generator import Generator
from models.provenance import describe_device

ROOT = Path(__file__).parent.parent
TOLERANCE = 1e-4
"""Of a difference in float32, where features and images have a standard deviation of about one."""


@dataclass(frozen=True)
class Configuration:
    """A network to compare. settings: what the process that builds it takes, beside the fields here. latents: of each
    truncation. refusal: a part of the message with which the import has to refuse it, instead of taking it."""

    name: str
    settings: dict[str, Any]
    latents: int = 2
    truncations: tuple[float, ...] = (0.5, 0.7, 1.0)
    refusal: str = ""


@dataclass(frozen=True)
class Outcome:
    """differences: the largest of w, of all features, of all ToRGB outputs and of the images. largest: the largest
    magnitude of what was compared. message: what the import said, if it refused the file."""

    ok: bool
    differences: dict[str, float] = field(default_factory=dict)
    largest: float = 0.0
    message: str = ""


def _nvidia(resolution: int, mapping_layers: int = 8, half_blocks: int = 4, **synthesis: Any) -> dict[str, Any]:
    """A network of stylegan2-ada-pytorch, as its train.py would ask for it."""
    clamp = {"num_fp16_res": half_blocks, "conv_clamp": 256 if half_blocks else None}
    widths = {"channel_base": 16384, "channel_max": 512}
    mapping = {"num_layers": mapping_layers}
    return {
        "network": "training.networks",
        "resolution": resolution,
        "mapping": mapping,
        "synthesis": widths | clamp | synthesis,
    }


def _stylegan3(resolution: int, mapping_layers: int = 8, **synthesis: Any) -> dict[str, Any]:
    """A StyleGAN2 of the stylegan3 repository (`--cfg=stylegan2`), whose code names every argument at one level."""
    settings = _nvidia(resolution, mapping_layers, **synthesis)
    synthesis = {"fused_modconv_default": "inference_only", **settings["synthesis"]}
    return settings | {"network": "training.networks_stylegan2", "flat": True, "synthesis": synthesis}


def _alias_free(**synthesis: Any) -> dict[str, Any]:
    settings = {"resolution": 64, "mapping": {"num_layers": 2}, "flat": True, "synthesis": synthesis}
    return settings | {"network": "training.networks_stylegan3", "discriminator": "training.networks_stylegan2"}


DEFAULTS_OF_STYLEGAN3 = {"network": "training.networks_stylegan2", "resolution": 64, "flat": True}
CLASSES = {"c_dim": 10, "classes": [0, 3, 6, 9]}
NEAR_EPSILON = {"convolutions": 1e-5}
NOT_SKIP, IS_STYLEGAN3 = "only 'skip'", "is a StyleGAN3"
OWN_TAPS = {"resample_filter": [1, 3, 3, 1], "activation": "lrelu", "architecture": "skip", "use_noise": True}
TF_MAPPING = {"activation": "lrelu", "lr_multiplier": 0.01, "w_avg_beta": 0.995, "embed_features": None}
CONFIGURATIONS: dict[str, list[Configuration]] = {
    "nvidia": [
        Configuration("32, two mapping layers, 10 classes", _nvidia(32, 2) | CLASSES, latents=4),
        Configuration("64, two mapping layers", _nvidia(64, 2)),
        Configuration("64, at most 128 channels, float32", _nvidia(64, 8, half_blocks=0, channel_max=128)),
        Configuration("64, pickle protocol 3", _nvidia(64, 2) | {"protocol": 3}),
        Configuration("64, channels-last weights", _nvidia(64, 2, fp16_channels_last=True)),
        Configuration("64, without noise", _nvidia(64, 2, use_noise=False)),
        Configuration("64, a clamp that bites", _nvidia(64, 2, conv_clamp=1)),
        Configuration("64, weights near the epsilon", _nvidia(64) | NEAR_EPSILON),
        Configuration(
            "64, narrow mapping of another rate, w of 256",
            _nvidia(64) | {"w_dim": 256, "mapping": {"num_layers": 3, "layer_features": 128, "lr_multiplier": 0.1}},
        ),
        Configuration("64, embedding of 64 features", _nvidia(64) | CLASSES | {"mapping": {"embed_features": 64}}, 4),
        Configuration(
            "64, arguments as converted from TensorFlow",
            _nvidia(64, half_blocks=0, channel_base=32768, **OWN_TAPS) | {"mapping": {"num_layers": 8, **TF_MAPPING}},
        ),
        Configuration("64, all defaults", {"network": "training.networks", "resolution": 64}),
        Configuration("256, 16384 / 512", _nvidia(256), latents=1),
        Configuration("256, 32768 / 512", _nvidia(256, channel_base=32768), latents=1),
        Configuration("1024, 32768 / 512", _nvidia(1024, channel_base=32768), latents=1, truncations=(0.7,)),
        Configuration("32, resnet", _nvidia(32, 2, architecture="resnet"), refusal=NOT_SKIP),
        Configuration("32, orig", _nvidia(32, 2, architecture="orig"), refusal=NOT_SKIP),
    ],
    "stylegan3": [
        Configuration("32, two mapping layers, 10 classes", _stylegan3(32, 2) | CLASSES, latents=4),
        Configuration("64, 32768 / 512", _stylegan3(64, channel_base=32768)),
        Configuration("64, all defaults", DEFAULTS_OF_STYLEGAN3),
        Configuration("64, float32", _stylegan3(64, 2, num_fp16_res=0, conv_clamp=None)),
        Configuration("256, 16384 / 512", _stylegan3(256, 2), latents=1),
        Configuration("32, resnet", _stylegan3(32, 2, architecture="resnet"), refusal=NOT_SKIP),
        Configuration("64, StyleGAN3-T", _alias_free(channel_base=8192), refusal=IS_STYLEGAN3),
        Configuration(
            "64, StyleGAN3-R",
            _alias_free(channel_base=8192, conv_kernel=1, use_radial_filters=True),
            refusal=IS_STYLEGAN3,
        ),
    ],
    "rosinality": [
        Configuration("64, multiplier 1", {"resolution": 64, "multiplier": 1}),
        Configuration("64, multiplier 2", {"resolution": 64, "multiplier": 2}),
        Configuration("64, weights near the epsilon", {"resolution": 64, "multiplier": 1} | NEAR_EPSILON),
        Configuration("64, before the zip format", {"resolution": 64, "multiplier": 2, "old_format": True}),
        Configuration(
            "64, a training checkpoint", {"resolution": 64, "multiplier": 1, "training": True}, truncations=(1.0,)
        ),
        Configuration("256, multiplier 1", {"resolution": 256, "multiplier": 1}, latents=1),
        Configuration("256, multiplier 2", {"resolution": 256, "multiplier": 2}, latents=1),
    ],
}


class TheirProcess:
    """A process that builds networks with the code of one checkout."""

    def __init__(self, process: "subprocess.Popen[str]", checkout: Path) -> None:
        self._process, self._checkout = process, checkout

    def build(self, configuration: Configuration, seed: int, folder: Path) -> None:
        """Have the checkpoint and, unless it is to be refused, the record written into `folder`.

        Raises:
            RuntimeError: it ended before that; its own output says why.
        """
        asked = {"latents": configuration.latents, "truncations": configuration.truncations, "seed": seed}
        asked |= {"refusal": configuration.refusal, "folder": str(folder)} | configuration.settings
        assert self._process.stdin and self._process.stdout
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        if not self._process.stdout.readline():
            raise RuntimeError(f"{configuration.name}: the code in {self._checkout} failed; see above")


@contextmanager
def their_process(checkout: Path) -> Iterator[TheirProcess]:
    """One that ends with the block."""
    command = [sys.executable, "-m", "benchmarks.their_generators", str(checkout.resolve())]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield TheirProcess(process, checkout)
        except BaseException:
            process.kill()
            raise


@torch.no_grad()
def our_record(generator: Generator, theirs: dict[str, Tensor], truncations: tuple[float, ...]) -> dict[str, Tensor]:
    """What an imported generator makes of the latents `z` and classes `c` of a record, by the names of that record."""
    found: dict[str, list[Tensor]] = {}
    colors: list[Tensor] = []
    parts = generator.synthesis.to_rgb
    hooks = [part.register_forward_hook(lambda _part, _, out: colors.append(out)) for part in parts]
    for truncation in truncations:
        colors.clear()
        w = generator.mapping(theirs["z"], truncation, theirs.get("c"))
        images, features = generator.synthesis(generator.broadcast(w))
        made = {"w": w, "images": images}
        made |= {f"features.{index}": feature for index, feature in enumerate(features)}
        made |= {f"colors.{index}": color for index, color in enumerate(colors)}
        for name, tensor in made.items():
            found.setdefault(name, []).append(tensor)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(tensors) for name, tensors in found.items()}


def compare(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> Outcome:
    """Two records of the same latents, name by name.

    Returns:
        `ok` if both hold the same names and shapes, nothing of theirs is constant, and no number differs by more than
        `TOLERANCE`.
    """
    names = theirs.keys() - {"z", "c"}
    shapes = [{name: record[name].shape for name in record.keys() - {"z", "c"}} for record in (ours, theirs)]
    if wrong := {name for name, _ in shapes[0].items() ^ shapes[1].items()}:
        return Outcome(False, message=f"{min(wrong)} is missing or of another shape")
    differences: dict[str, float] = {}
    largest, ok = 0.0, True
    for name in sorted(names):
        difference = float((ours[name] - theirs[name]).abs().max())
        # A NaN of either compares as false.
        ok &= difference <= TOLERANCE and float(theirs[name].std()) > 0
        group = name.partition(".")[0]
        differences[group] = max(differences.get(group, 0.0), difference)
        largest = max(largest, float(theirs[name].abs().max()))
    return Outcome(ok, differences, largest)


def outcome_of(configuration: Configuration, folder: Path) -> Outcome:
    """Import the checkpoint in `folder` and compare what it computes with the record beside it."""
    try:
        imported = import_checkpoint(folder / CHECKPOINT)
    except CheckpointError as error:
        return Outcome(bool(configuration.refusal) and configuration.refusal in str(error), message=str(error))
    if configuration.refusal:
        return Outcome(False, message="was imported")
    theirs = load_file(folder / RECORD)
    return compare(our_record(imported.generator, theirs, configuration.truncations), theirs)


def outcomes(checkout: Path, configurations: list[Configuration], seed: int = 0) -> Iterator[tuple[str, Outcome]]:
    """Name and outcome of each configuration, as they come."""
    with their_process(checkout) as process:
        for configuration in configurations:
            with TemporaryDirectory() as folder:
                process.build(configuration, seed, Path(folder))
                yield configuration.name, outcome_of(configuration, Path(folder))


def row(name: str, outcome: Outcome) -> str:
    """A line of the table."""
    verdict = "ok" if outcome.ok else "WRONG"
    if outcome.message:
        return f"{verdict:<6}{name:<48}{outcome.message}"
    figures = "".join(f"{outcome.differences[group]:>10.1e}" for group in ("w", "features", "colors", "images"))
    return f"{verdict:<6}{name:<48}{figures}{outcome.largest:>9.1f}"


def main() -> None:
    """Print the table of each checkout; the exit status is 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, repository in (
        ("nvidia", "NVlabs/stylegan2-ada-pytorch"),
        ("stylegan3", "NVlabs/stylegan3"),
        ("rosinality", "rosinality/stylegan2-pytorch"),
    ):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=f"a checkout of {repository}")
    parser.add_argument("--seed", type=int, default=0, help="of weights and latents")
    arguments = parser.parse_args()
    checkouts = {name: folder for name in CONFIGURATIONS if (folder := getattr(arguments, name)) is not None}
    if not checkouts:
        parser.error("name at least one checkout")
    for name, folder in checkouts.items():
        if not folder.is_dir():
            parser.error(f"--{name}: {folder} is no folder")
    found: dict[str, dict[str, Any]] = {}
    for repository, folder in checkouts.items():
        print(f"\n{repository:<54}" + "".join(f"{h:>10}" for h in ("w", "features", "ToRGB", "images")) + "  largest")
        found[repository] = {}
        try:
            for name, outcome in outcomes(folder, CONFIGURATIONS[repository], arguments.seed):
                print(row(name, outcome), flush=True)
                found[repository][name] = asdict(outcome)
        except RuntimeError as error:
            sys.exit(f"error: {error}")
    ok = all(outcome["ok"] for group in found.values() for outcome in group.values())
    device = describe_device(choose_device("cpu"))
    print(json.dumps({"ok": ok, "tolerance": TOLERANCE, "configurations": found, "device": device}))
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
