"""How fast toy bears are rendered: `python -m benchmarks.bears`."""

import argparse
import json
import time

import torch

from models.bears import render


def main() -> None:
    """Render a batch on one core; prints `ms_per_image`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--size", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    render(range(8), arguments.size)
    started = time.perf_counter()
    render(range(arguments.count), arguments.size)
    seconds = time.perf_counter() - started
    print(json.dumps({"size": arguments.size, "ms_per_image": round(1000 * seconds / arguments.count, 2)}))


if __name__ == "__main__":
    main()
