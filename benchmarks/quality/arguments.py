"""What a run is asked for on the command line."""

import argparse
import os
from dataclasses import replace
from pathlib import Path

from benchmarks.bear_domains import add_bears
from benchmarks.quality.ablations import ABLATIONS
from benchmarks.quality.plan import FULL, OTHER_KINDS, QUICK, Plan
from models.bears import PLAIN

NUMBERS = ("steps", "samples", "seeds_shares", "full", "annotated", "annotator_steps", "test")
"""Settings of a plan that are numbers."""


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """The parser of the command."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer draws, steps and images: under ten minutes")
    parser.add_argument("--out", type=Path, default=Path("runs/quality"), help="where results and caches are kept")
    add_bears(parser)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="default: number of cores")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--ablation", choices=list(ABLATIONS), help="only this: values of one setting, side by side")
    what.add_argument("--write", type=Path, metavar="PAGE", help="only fill this page from the results in --out")
    settings = parser.add_argument_group("settings of the plan")
    settings.add_argument("--draws", type=int, help="sets of seeds of each count")
    settings.add_argument("--ablation-draws", type=int, default=2, help="the same, in an ablation")
    settings.add_argument("--counts", type=int, nargs="+", help="numbers of seeds")
    settings.add_argument("--kinds", nargs="*", choices=OTHER_KINDS, help="label kinds beside segmentation")
    settings.add_argument("--steps", type=int, help="of every network")
    settings.add_argument("--samples", type=int, help="of every data set")
    settings.add_argument("--seeds-shares", type=float, nargs=2, help="of the first and of the last batch, where added")
    settings.add_argument("--full", type=int, help="exact renders of full supervision")
    settings.add_argument("--annotated", type=int, help="exact renders that the annotator learns from")
    settings.add_argument("--annotator-steps", type=int, help="of the annotator")
    settings.add_argument("--test", type=int, help="exact renders to test on")
    return parser


def command_of(arguments: argparse.Namespace) -> str:
    """The command that asks for the same results, wherever they are kept and however many work on them."""
    words = ["python -m benchmarks.quality", *(["--quick"] if arguments.quick else [])]
    if arguments.bears != PLAIN.name:
        words.append(f"--bears {arguments.bears}")
    if arguments.ablation:
        words.append(f"--ablation {arguments.ablation} --ablation-draws {arguments.ablation_draws}")
    for name in ("draws", "counts", "kinds", *NUMBERS):
        value = getattr(arguments, name)
        if value is not None and not (arguments.ablation and name == "draws"):
            values = value if isinstance(value, list) else [value]
            words.append(" ".join([f"--{name.replace('_', '-')}", *map(str, values)]))
    return " ".join(words)


def plan_of(arguments: argparse.Namespace) -> Plan:
    """The plan that was asked for."""
    plan = QUICK if arguments.quick else FULL
    names = ("draws", "full", "annotated", "test")
    plan = replace(plan, **{name: value for name in names if (value := getattr(arguments, name)) is not None})
    if arguments.seeds_shares:
        plan = replace(plan, seeds_shares=tuple(arguments.seeds_shares))
    if arguments.counts:
        plan = replace(plan, counts=tuple(arguments.counts))
    if arguments.kinds is not None:
        plan = replace(plan, others=tuple(arguments.kinds))
    if arguments.steps:
        plan = replace(plan, budget=replace(plan.budget, steps=arguments.steps))
    if arguments.annotator_steps:
        plan = replace(plan, annotator_budget=replace(plan.annotator_budget, steps=arguments.annotator_steps))
    if arguments.samples:
        plan = replace(plan, sampling=replace(plan.sampling, count=arguments.samples))
    return plan
