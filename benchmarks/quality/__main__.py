"""What a data set is worth: `python -m benchmarks.quality`, or `--quick` for a look in ten minutes.

Trains the same small networks on seeds alone, on data sets generated from them with and without the seeds added, on
data sets of a labeler that learnt from annotated generated images, and on many exact labels; tests all of them on exact
renders. What is done is kept in --out: ended and started again, it goes on. The last line is one JSON object.
"""

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.quality.artefacts import World
from benchmarks.quality.plan import FULL, QUICK, Plan, first_steps
from benchmarks.quality.record import Record
from benchmarks.quality.run import run
from benchmarks.quality.steps import Place, Step
from benchmarks.quality.summary import summary
from benchmarks.quality.view import View
from models.bundled import bundled_folders
from models.provenance import describe_device

console = Console(stderr=True)


def plan_of(arguments: argparse.Namespace) -> Plan:
    """The plan that was asked for."""
    plan = QUICK if arguments.quick else FULL
    given = {"draws": arguments.draws, "seeds_share": arguments.seeds_share, "full": arguments.full}
    given |= {"annotated": arguments.annotated, "test": arguments.test}
    plan = replace(plan, **{name: value for name, value in given.items() if value is not None})
    if arguments.counts:
        plan = replace(plan, counts=tuple(arguments.counts))
    if arguments.kinds is not None:
        plan = replace(plan, others=tuple(kind for kind in arguments.kinds if kind != "segmentation"))
    if arguments.steps:
        plan = replace(plan, budget=replace(plan.budget, steps=arguments.steps))
    if arguments.samples:
        plan = replace(plan, sampling=replace(plan.sampling, count=arguments.samples))
    return plan


@contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Raises `SystemExit` if another run uses the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SystemExit(f"another run uses {folder}: wait for it, or give another --out") from None
        yield


def carry_out(plan: Plan, place: Place, record: Record, world: World, workers: int) -> tuple[dict[str, Any], list[str]]:
    """Run a plan; the JSON object, and the titles of what failed."""
    trials = plan.trials(world)
    done = sum(record.facts(trial) is not None for trial in trials)
    alone = plan.seed_fit(world, max(plan.counts), 0)
    with View(console, done, len(trials)) as view:
        failed = run(trials, place, record, workers, view.show, first_steps(trials), alone)
    return summary(plan, world, record), _told(failed)


def _told(failed: dict[Step, str]) -> list[str]:
    for step, why in failed.items():
        console.print(f"[red]failed[/]: {step.title}: {why.strip().splitlines()[-1]}", highlight=False, soft_wrap=True)
    return [step.title for step in failed]


def main() -> None:
    """Run what was asked for, print its JSON object, and exit with 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer draws, steps and images: under ten minutes")
    parser.add_argument("--out", type=Path, default=Path("runs/quality"), help="where results and caches are kept")
    parser.add_argument("--generator", type=Path, default=None, help="folder of a generator; default: the toy bears'")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="default: number of cores")
    settings = parser.add_argument_group("settings of the plan")
    settings.add_argument("--draws", type=int, help="sets of seeds of each count")
    settings.add_argument("--counts", type=int, nargs="+", help="numbers of seeds")
    settings.add_argument("--kinds", nargs="*", help="label kinds beside segmentation: keypoints depth class")
    settings.add_argument("--steps", type=int, help="of every network")
    settings.add_argument("--samples", type=int, help="of every data set")
    settings.add_argument("--seeds-share", type=float, help="of each batch, where seeds are added to a data set")
    settings.add_argument("--full", type=int, help="exact renders of full supervision")
    settings.add_argument("--annotated", type=int, help="exact renders that the annotator learns from")
    settings.add_argument("--test", type=int, help="exact renders to test on")
    arguments = parser.parse_args()
    plan = plan_of(arguments)
    torch.set_num_threads(1)
    place = Place(arguments.out, arguments.generator or bundled_folders()[0])
    world = World.of(place.generator)
    with only_run_in(place.root):
        record = Record(place.root / "results.jsonl")
        result, failed = carry_out(plan, place, record, world, arguments.workers)
        result |= {"device": describe_device(torch.device("cpu")), "workers": arguments.workers, "failed": failed}
        name = "quick.json" if arguments.quick else "full.json"
        (place.root / name).write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
