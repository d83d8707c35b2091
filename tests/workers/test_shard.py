"""A shard holds what its job asked for: every part of a request gets to the generator, the labeler and the packer."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.bundle import load_bundle
from models.labeler import Labeler
from models.sampling import Wish, labeled_samples
from service.ledger import Ledger
from service.records import Phase, labeler_key
from tests.workers.conftest import NewJob
from tests.workers.world import write_generator
from workers.dataset import read_samples
from workers.packing import Packer
from workers.plan import read_plan
from workers.png import read_mask
from workers.shard import make_shard
from workers.tars import PackedSample
from workers.workbench import Workbench

COUNT = 30
BALANCE = {
    "coverage": {"dark": {"samples": 10, "min_share": 0.34}, "light": {"samples": 5, "min_share": 0.99}},
    "max_attempts": 5,
}
REQUEST = {
    "truncation": 0.6,
    "discard_fraction": 0.4,
    "ignore_fraction": 0.125,
    "image_format": "webp",
    "augment": [{"name": "HorizontalFlip", "p": 0.5}],
    "multiply": 2,
    "balance": BALANCE,
}


def made(bench: Workbench) -> list[PackedSample]:
    """The samples of all shards of a job, which are made here."""
    plan = read_plan(bench.store, bench.job_id)
    assert plan is not None
    for shard in range(plan.shards):
        make_shard(bench, shard)
    return list(read_samples(bench.store, bench.job_id, plan, bench.job.generate.multiply))


def test_shards_hold_what_was_asked_for(new_job: NewJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in shards of any size, in lanes or not, and the same as generator and labeler make when they are asked
    directly."""
    small, large = new_job("small", COUNT, 7, **REQUEST), new_job("large", COUNT, COUNT, **REQUEST)
    found = made(small)
    monkeypatch.setattr("workers.lanes.LARGEST_SIDE", 8)
    assert found == made(large)

    write_generator(tmp_path / "tiny")
    bundle = load_bundle(tmp_path / "tiny", torch.device("cpu"))
    plan = read_plan(small.store, small.job_id)
    assert plan is not None
    weights = tmp_path / "labeler.safetensors"
    weights.write_bytes(small.store.read(labeler_key(plan.fit_key, weights.name)))
    packer = Packer(small.job.generate, small.project)
    samples = labeled_samples(
        bundle,
        Labeler.load(weights, torch.device("cpu")),
        1,
        range(COUNT),
        0.6,
        0.4,
        ignore_fraction=0.125,
        wish=packer.wish,
        max_attempts=5,
    )
    assert found == [version for sample in samples for version in packer(sample)]

    wishes = [packer.wish(version.facts.source) for version in found]
    assert wishes.count(Wish(coverage=(0, 0.34))) == 20
    for version, wish in zip(found, wishes, strict=True):
        assert version.image_suffix == "webp"
        assert version.mask is not None
        assert np.count_nonzero(read_mask(version.mask) == 255) == 16 * 16 / 8
        if wish == Wish(coverage=(2, 0.99)):
            assert (version.facts.met, version.facts.attempts) == (False, 5)


@pytest.mark.parametrize("largest_in_lanes", [16, 8])
def test_a_rare_wish_is_told_while_nothing_comes_of_it(
    new_job: NewJob, monkeypatch: pytest.MonkeyPatch, largest_in_lanes: int
) -> None:
    monkeypatch.setattr("workers.lanes.LARGEST_SIDE", largest_in_lanes)
    monkeypatch.setattr("workers.shard.PROGRESS_INTERVAL_S", 0.0)
    told: list[tuple[int, int, float]] = []
    tell = Ledger.tell_draws

    def tell_draws(ledger: Ledger, job_id: str, shard: int, judged: int, settled: int) -> None:
        told.append((judged, settled, float(ledger.get(job_id).progress.details["busy.generate"])))
        tell(ledger, job_id, shard, judged, settled)

    monkeypatch.setattr(Ledger, "tell_draws", tell_draws)
    balance = {"coverage": {"light": {"samples": 4, "min_share": 0.99}}, "max_attempts": 500}
    bench = new_job("job", 4, 2, balance=balance)
    bench.ledger.enter_phase("job", Phase.GENERATE, 4)
    assert len(made(bench)) == 4
    waiting = [busy for judged, settled, busy in told if judged > 200 and settled == 0]
    assert min(waiting) > 0, "the stage is at work although it has delivered nothing"
    assert [counts for *counts, _ in told].count([1000, 2]) >= 2
    assert bench.ledger.get("job").progress.details["acceptance"] == 4 / 2000
