"""How far a job is, as its workers tell the ledger: rates, shards, phases."""

import threading

import pytest
from redis import Redis

from service.ledger import Ledger
from service.records import JobRecord, Phase


def test_rate_counts_from_the_phases_beginning(ledger: Ledger, job: JobRecord, redis: Redis) -> None:
    ledger.enter_phase(job.id, Phase.FIT, 1000)
    assert ledger.get(job.id).progress.rate is None
    began = float(redis.hget("labelmint:job:job-1", "phase_started") or 0)
    redis.hset("labelmint:job:job-1", "phase_started", str(began - 10))
    ledger.advance(job.id, 200)
    ledger.enter_phase(job.id, Phase.FIT, 1000)
    progress = ledger.get(job.id).progress
    assert progress.done == 200
    assert progress.rate == pytest.approx(20, rel=0.1)
    assert progress.eta_s == pytest.approx(40, rel=0.1)


def test_rate_leaves_out_what_was_done_before_an_interruption(ledger: Ledger, job: JobRecord, redis: Redis) -> None:
    ledger.plan(job.id, "abc", shards=10, shard_size=1000)
    ledger.enter_phase(job.id, Phase.GENERATE, 10_000)
    for shard in range(9):
        ledger.advance_shard(job.id, shard, 1000)
    ledger.count_from_here(job.id)
    assert (ledger.get(job.id).progress.done, ledger.get(job.id).progress.rate) == (9000, None)
    began = float(redis.hget("labelmint:job:job-1", "phase_started") or 0)
    redis.hset("labelmint:job:job-1", "phase_started", str(began - 10))
    ledger.advance_shard(job.id, 9, 200)
    progress = ledger.get(job.id).progress
    assert progress.rate == pytest.approx(20, rel=0.1)
    assert progress.eta_s == pytest.approx(40, rel=0.1)
    ledger.advance_shard(job.id, 8, 0)  # made again by a worker that took it over
    assert ledger.get(job.id).progress.rate is None
    ledger.enter_phase(job.id, Phase.PACKAGE, 10_000)
    ledger.advance(job.id, 1)
    assert ledger.get(job.id).progress.rate is not None, "it was not interrupted"


def test_shards_made_twice_count_once(ledger: Ledger, job: JobRecord) -> None:
    ledger.enter_phase(job.id, Phase.GENERATE, 100)
    ledger.advance_shard(job.id, 0, 30)
    ledger.advance_shard(job.id, 1, 50)
    ledger.advance_shard(job.id, 0, 10)
    ledger.advance_shard(job.id, 0, 50)
    assert ledger.get(job.id).progress.done == 100


def test_a_late_worker_does_not_take_the_job_back(ledger: Ledger, job: JobRecord) -> None:
    ledger.enter_phase(job.id, Phase.GENERATE, 100)
    ledger.enter_phase(job.id, Phase.INVERT, 5)
    assert ledger.get(job.id).phase is Phase.GENERATE
    assert ledger.get(job.id).progress.total == 100


def test_acceptance_is_that_of_all_shards(ledger: Ledger, job: JobRecord) -> None:
    ledger.start(job.id)
    ledger.enter_phase(job.id, Phase.GENERATE, 100)
    ledger.tell_draws(job.id, 0, 0, 0)
    assert "acceptance" not in ledger.get(job.id).progress.details
    ledger.tell_draws(job.id, 0, 20, 5)
    ledger.tell_draws(job.id, 1, 50, 40)
    ledger.tell_draws(job.id, 0, 30, 8)
    ledger.tell(job.id, {"slowest": "generate"})
    assert ledger.get(job.id).progress.details == {"slowest": "generate", "acceptance": 0.6}
    ledger.enter_phase(job.id, Phase.PACKAGE, 100)
    assert ledger.get(job.id).progress.details == {}


def test_the_last_shard_is_told_each_time(ledger: Ledger, job: JobRecord) -> None:
    assert not ledger.shard_finished(job.id, 0), "no plan yet"
    ledger.plan(job.id, "abc", shards=3, shard_size=40)
    assert not ledger.shard_finished(job.id, 2)
    assert not ledger.shard_finished(job.id, 2)
    assert ledger.shard_finished(job.id, 1)
    assert ledger.shard_finished(job.id, 1)


def test_of_shards_that_end_together_one_is_told(ledger: Ledger, job: JobRecord) -> None:
    ledger.plan(job.id, "abc", shards=8, shard_size=40)
    told: list[bool] = []
    threads = [threading.Thread(target=lambda i=i: told.append(ledger.shard_finished(job.id, i))) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told.count(True) == 1


def test_a_phase_entered_again_is_told_again_and_its_progress_once(ledger: Ledger, job: JobRecord) -> None:
    ledger.enter_phase(job.id, Phase.INVERT, 10)
    ledger.advance(job.id, 10)
    ledger.enter_phase(job.id, Phase.FIT, 10)
    ledger.advance(job.id, 4)
    ledger.enter_phase(job.id, Phase.INVERT, 10)
    ledger.advance(job.id, 2)
    told = [(event.type, event.data["phase"], event.data.get("done")) for event in ledger.history(job.id).log]
    assert told == [
        ("phase", "invert", None),
        ("phase", "fit", None),
        ("progress", "fit", 4),
        ("phase", "invert", None),
        ("progress", "invert", 2),
    ]
