"""What a data set is worth: `python -m benchmarks.quality`, or `--quick` for a look in ten minutes.

Trains the same small networks on seeds alone, on data sets generated from them with and without the seeds added, on
data sets of a labeler that learnt from annotated generated images (annotated by a network that learnt from many exact
renders), and on many exact labels; tests all of them on exact renders. `--ablation NAME` compares the values of one
setting instead. What is done is kept in --out: ended and started again, it goes on. The last line is one JSON object.
"""

import argparse
import fcntl
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.bear_domains import domain_of, generator_of
from benchmarks.quality import document, tables
from benchmarks.quality.ablations import ablation_summary, variants
from benchmarks.quality.arguments import command_of, parser_of, plan_of
from benchmarks.quality.artefacts import World
from benchmarks.quality.plan import Plan, first_steps
from benchmarks.quality.record import Record
from benchmarks.quality.run import run
from benchmarks.quality.steps import Place, Step
from benchmarks.quality.summary import settings_of, summary
from benchmarks.quality.trial import Trial
from benchmarks.quality.view import View
from models.provenance import describe_device

console = Console(stderr=True)


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


@dataclass(frozen=True)
class Session:
    """What a run works with."""

    plan: Plan
    place: Place
    world: World
    record: Record
    workers: int

    def train(self, trials: list[Trial], alone: Step | None) -> list[str]:
        """Do the trials that are not done; the titles of the steps that failed, after saying why each did."""
        done = sum(self.record.facts(trial) is not None for trial in trials)
        with View(console, done, len(trials)) as view:
            failed = run(trials, self.place, self.record, self.workers, view.show, first_steps(trials), alone)
        for step, why in failed.items():
            console.print(f"[red]failed[/]: {step.title}: {why.strip().splitlines()[-1]}", soft_wrap=True)
        return [step.title for step in failed]

    def compare_sources(self) -> dict[str, Any]:
        """The whole plan; its JSON object."""
        failed = self.train(self.plan.trials(self.world), self.plan.seed_fit(self.world, max(self.plan.counts), 0))
        return summary(self.plan, self.world, self.record) | self._facts(failed)

    def compare_values(self, ablation: str, draws: int) -> dict[str, Any]:
        """One ablation; its JSON object."""
        each = [variant.trials(self.world, draws) for variant in variants(ablation, self.plan)]
        by_draw = [trial for of_draw in zip(*each, strict=True) for trial in of_draw]
        failed = self.train(by_draw, None)
        found = ablation_summary(ablation, self.plan, self.world, self.record, draws)
        return found | {"settings": settings_of(self.plan)} | self._facts(failed)

    def _facts(self, failed: list[str]) -> dict[str, Any]:
        return {"device": describe_device(torch.device("cpu")), "workers": self.workers, "failed": failed}


def carry_out(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run what was asked for, keep its JSON object and its pictures in --out, and print its tables."""
    torch.set_num_threads(1)
    place = Place(arguments.out, generator_of(arguments))
    record = Record(place.root / "results.jsonl")
    session = Session(
        plan_of(arguments), place, World.of(place.generator, domain_of(arguments)), record, arguments.workers
    )
    if arguments.ablation:
        result = session.compare_values(arguments.ablation, arguments.ablation_draws)
        document.draw_ablation(result, place.root / "pictures")
        told = [tables.ablation_table(result)]
    else:
        result = session.compare_sources()
        document.draw_run(result, place.root / "pictures")
        drawn = (tables.segmentation_table, tables.classes_table, tables.kinds_table, tables.bars_table)
        told = [table(result) for table in drawn]
    result["command"] = command_of(arguments)
    file = document.result_file(place.root, arguments.bears, arguments.quick, arguments.ablation)
    file.write_text(json.dumps(result, indent=2) + "\n")
    print("\n\n".join(told))
    return result


def main() -> None:
    """Do what was asked for; the exit status is 1 if any step failed."""
    arguments = parser_of(__doc__).parse_args()
    if arguments.write:
        document.write(arguments.write, arguments.out, arguments.bears, arguments.quick)
        return
    with only_run_in(arguments.out):
        result = carry_out(arguments)
    print(json.dumps(result))
    sys.exit(1 if result["failed"] else 0)


if __name__ == "__main__":
    main()
