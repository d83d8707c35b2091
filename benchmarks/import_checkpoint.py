"""What importing a stranger's checkpoint costs: `python -m benchmarks.import_checkpoint`.

Writes a training snapshot in NVIDIA's layout with the sizes of the published 1024² faces generator (G, G_ema and D with
random weights), then imports it in a process of its own. The last line is one JSON object.
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


def import_here(path: Path) -> None:
    """Import and print what it took of this process, as JSON."""
    from models.foreign.importing import import_checkpoint

    started, worked = time.perf_counter(), time.process_time()
    generator = import_checkpoint(path).generator
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - worked
    figures = {"seconds": round(seconds, 2), "cpu_s": round(cpu_s, 2), "peak_mb": round(peak_mb(), 1)}
    parameters = sum(p.numel() for p in generator.parameters())
    print(json.dumps(figures | {"parameters": parameters}))


def main() -> None:
    """Print the seconds of an import, alone and with the start of its process, and the peak memory of that process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, default=1024)
    parser.add_argument("--child", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return import_here(arguments.child)
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network-snapshot.pkl"
        write_snapshot(path, arguments.resolution)
        started = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.import_checkpoint", "--child", str(path)]
        output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        whole_s = time.perf_counter() - started
        size = path.stat().st_size
    # A worker has torch loaded before the job comes; `process_s` is for those who start from nothing.
    result = json.loads(output.splitlines()[-1]) | {"process_s": round(whole_s, 2), "file_mb": round(size / 1e6, 1)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
