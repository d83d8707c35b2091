"""How fast datasets are packed: `python -m benchmarks.packing --format coco --count 20000 --side 64`.

Packs toy bears, rendered with their exact masks, some dozens of them again and again, in a format whose labels take
work, and drops the bytes: once bound to a single core, where the work of each sample is done inline, and once with all
cores, over which it is spread if there is enough of it; give some thousand samples. Milliseconds of processor time are
for each sample: `inline_ms`; `caller_ms` and `children_ms`, when spread, of the process that writes the zip, which
bounds the rate on any number of cores, and of those that work for it, their start included. Other work on the machine
slows both ways down, the second one more. The last line is one JSON object.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any

import torch

from models.bears import PARTS, render
from models.bears.scene import PART_COLORS
from models.provenance import describe_device
from service.label_schema import LabelClass, LabelSchema
from service.requests import DatasetFormat
from workers.cores import usable_cores
from workers.dataset_zip import dataset_zip
from workers.formats import FORMATS, Description, Enclosures
from workers.packing import class_pixels
from workers.png import image_png, mask_png, palette
from workers.process_map import MOST_PROCESSES
from workers.tars import PackedSample, SampleFacts

DISTINCT = 48
SCHEMA = LabelSchema(classes=[LabelClass(name=n, color=c) for n, c in zip(PARTS, PART_COLORS, strict=True)])
ENCLOSURES = Enclosures(dict, lambda _: "", lambda: b"")


@dataclass(frozen=True)
class Rate:
    """samples_s: packed in a second. caller_ms, children_ms: milliseconds of processor time for each, of this process
    and of those that worked for it."""

    samples_s: float
    caller_ms: float
    children_ms: float


def bears(side: int, count: int) -> list[PackedSample]:
    """Renders with their masks, as they lie in shards."""
    renders, colors = render(range(count), side), palette(SCHEMA.classes)
    facts = [
        SampleFacts(index, index, 0, 0.1, {"segmentation": 0.1}, class_pixels(mask, len(PARTS)))
        for index, mask in enumerate(renders.parts)
    ]
    return [
        PackedSample(fact, image_png(image), mask=mask_png(mask, colors))
        for fact, image, mask in zip(facts, renders.images, renders.parts, strict=True)
    ]


def repeated(samples: list[PackedSample], count: int) -> Iterator[PackedSample]:
    """`count` samples with indices of their own."""
    for index, sample in enumerate(islice(cycle(samples), count)):
        yield replace(sample, facts=replace(sample.facts, index=index, source=index))


def pack(layout: DatasetFormat, samples: list[PackedSample], count: int, side: int) -> Rate:
    """Write a zip of `count` samples to nowhere."""
    description = Description("Bears", SCHEMA, side, None)
    began, caller_s, children_s = time.perf_counter(), time.process_time(), children_seconds()
    with closing(dataset_zip(FORMATS[layout], repeated(samples, count), count, description, ENCLOSURES)) as chunks:
        for _ in chunks:
            pass
    seconds = time.perf_counter() - began
    spent = (time.process_time() - caller_s, children_seconds() - children_s)
    return Rate(count / seconds, *(1000 * each / count for each in spent))


def children_seconds() -> float:
    """Processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def packed_inline(layout: DatasetFormat, samples: list[PackedSample], count: int, side: int) -> Rate:
    """As `pack`, by a process that has a single core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        return pack(layout, samples, count, side)
    finally:
        os.sched_setaffinity(0, cores)


def measure(layout: DatasetFormat, count: int, side: int) -> dict[str, Any]:
    """Inline and spread, and what of the two is more."""
    samples = bears(side, min(DISTINCT, count))
    pack(layout, samples, len(samples), side)
    inline, spread = packed_inline(layout, samples, count, side), pack(layout, samples, count, side)
    return {
        "format": str(layout),
        "count": count,
        "side": side,
        "samples_s_inline": round(inline.samples_s, 1),
        "samples_s_spread": round(spread.samples_s, 1),
        "ratio": round(spread.samples_s / inline.samples_s, 2),
        "inline_ms": round(inline.caller_ms, 3),
        "caller_ms": round(spread.caller_ms, 3),
        "children_ms": round(spread.children_ms, 3),
        "processes": min(MOST_PROCESSES, usable_cores()),
        "device": describe_device(torch.device("cpu")),
    }


def main() -> None:
    """Print the rates of one format."""
    worked = [str(layout) for layout, entry in FORMATS.items() if entry.work is not None]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", choices=worked, default="coco")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--side", type=int, default=64, help="pixels")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(measure(DatasetFormat(arguments.format), arguments.count, arguments.side)))


if __name__ == "__main__":
    main()
