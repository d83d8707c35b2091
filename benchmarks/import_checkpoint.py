"""What importing a stranger's checkpoint costs: `python -m benchmarks.import_checkpoint`.

Writes a training snapshot in NVIDIA's layout with the sizes of the published 1024² faces generator (G, G_ema and D with
random weights), then reads it in a process of its own, and publishes the generator in another one, as a worker's import
does: `publish_…` is what that took. The last line is one JSON object.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from benchmarks.peak_memory import peak_mb

ROOT = Path(__file__).parent.parent


def write_snapshot(path: Path, resolution: int) -> None:
    """Pickle what a training run of NVIDIA's does, each network with its own tensors."""
    # The writer of such pickles is the tests'; it makes the very stream that NVIDIA's classes do.
    from tests.models.foreign.nvidia_files import Discriminator, Generator, write_pickle

    def network() -> nn.Module:
        synthesis = {"num_fp16_res": 4, "conv_clamp": 256}
        return Generator(512, 0, 512, resolution, synthesis_kwargs=synthesis).requires_grad_(False)

    parts = {"G": network(), "D": Discriminator(29_000_000), "G_ema": network(), "augment_pipe": None}
    write_pickle(path, {**parts, "training_set_kwargs": {"path": "faces.zip"}})


def read_here(path: Path) -> None:
    """Read a snapshot, print what it took of this process, as JSON, and write the generator beside it."""
    from models.checkpoint import save_tensors
    from models.foreign.importing import import_checkpoint

    started, worked = time.perf_counter(), time.process_time()
    generator = import_checkpoint(path).generator
    figures = _taken(started, worked)
    parameters = sum(p.numel() for p in generator.parameters())
    print(json.dumps(figures | {"parameters": parameters}))
    architecture = generator.architecture.to_dict()
    save_tensors(
        path.with_name("weights.safetensors"), generator.state_dict(), "generator", {"architecture": architecture}
    )


def publish_here(folder: Path) -> None:
    """Publish the generator of a folder to a store beside it: print what it took of this process, as JSON."""
    from service.stores import FileStore
    from workers.publish import publish_generator

    started, worked = time.perf_counter(), time.process_time()
    publish_generator(FileStore(folder / "store"), folder, "faces", "Faces", "imported")
    print(json.dumps({f"publish_{name}": figure for name, figure in _taken(started, worked).items()}))


def _taken(started: float, worked: float) -> dict[str, float]:
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - worked
    return {"seconds": round(seconds, 2), "cpu_s": round(cpu_s, 2), "peak_mb": round(peak_mb(), 1)}


def in_child(option: str, path: Path) -> dict[str, float]:
    """What this program prints with an option that does the work in its own process."""
    command = [sys.executable, "-m", "benchmarks.import_checkpoint", option, str(path)]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    return figures


def main() -> None:
    """Print the seconds of reading, alone and with the start of its process, and of publishing, and the peak memory of
    either process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, default=1024)
    parser.add_argument("--read", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--publish", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        return read_here(arguments.read)
    if arguments.publish:
        return publish_here(arguments.publish)
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network-snapshot.pkl"
        write_snapshot(path, arguments.resolution)
        started = time.perf_counter()
        result = in_child("--read", path)
        # A worker has torch loaded before the job comes; `process_s` is for those who start from nothing.
        result |= {"process_s": round(time.perf_counter() - started, 2), "file_mb": round(path.stat().st_size / 1e6, 1)}
        result |= in_child("--publish", path.parent)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
