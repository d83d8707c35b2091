"""Lists of jobs: every job once, the newest first, and no answer costs more than it should."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from redis import Redis

from service.job_list import job_page
from service.job_reader import JobReader
from service.ledger import Ledger
from service.queue import JobQueue
from service.records import JobRecord, JobState
from service.stores import FileStore
from tests.service.jobs import make_job
from tests.service.test_unfinished_jobs import CountingStore


@pytest.fixture
def counting(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path / "store")


def put_ended(root: Path, ends: Sequence[tuple[str, JobState, int]]) -> None:
    """Records of jobs by id, state and the second since 1970 that they ended in."""
    store = FileStore(root)
    for job_id, state, second in ends:
        job = make_job(job_id).model_copy(update={"state": state})
        store.put(JobRecord.key(job_id), job.model_dump_json().encode())
        os.utime(root / JobRecord.key(job_id), (second, second))


def pages(reader: JobReader, limit: int, state: JobState | None = None) -> list[list[str]]:
    found, before = [], None
    while True:
        page = job_page(reader, limit, state, before)
        found.append([job.id for job in page.jobs])
        if (before := page.next) is None:
            return found


def test_those_that_have_not_ended_are_found_without_a_look_at_others(
    counting: CountingStore, redis: Redis, tmp_path: Path
) -> None:
    put_ended(tmp_path / "store", [(f"old-{number}", JobState.SUCCEEDED, number) for number in range(20)])
    ledger = Ledger(counting, redis, 100)
    for second, job_id in enumerate(("c", "a", "d", "b")):
        job = make_job(job_id).model_copy(update={"created": datetime.fromtimestamp(second, UTC)})
        ledger.accept(job)
    ledger.start("a")
    JobQueue(redis).mark_complete()
    counting.asked.clear()
    assert pages(ledger, 2, JobState.QUEUED) == [["b", "d"], ["c"]], "those accepted last come first"
    assert pages(ledger, 2, JobState.RUNNING) == [["a"]]
    assert set(counting.asked) == {JobRecord.key(job_id) for job_id in "abcd"}


def test_no_more_records_are_read_than_it_takes(
    counting: CountingStore, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = [(f"good-{number}", JobState.SUCCEEDED, 100 + number) for number in range(8)]
    put_ended(tmp_path / "store", [*ends, ("bad-1", JobState.FAILED, 101), ("bad-0", JobState.FAILED, 0)])
    reader = JobReader(counting, redis)
    counting.asked.clear()
    page = job_page(reader, 2, JobState.SUCCEEDED, None)
    assert [job.id for job in page.jobs] == ["good-7", "good-6"]
    assert counting.asked == ["jobs/", JobRecord.key("good-7"), JobRecord.key("good-6")]

    monkeypatch.setattr("service.job_list.LOOKS", 4)
    counting.asked.clear()
    assert pages(reader, 2, JobState.FAILED) == [[], ["bad-1"], ["bad-0"]]
    assert len(counting.asked) == 3 + 10, "a list for each page, and each record once"
    assert pages(reader, 1, JobState.FAILED) == [[], ["bad-1"], ["bad-0"]]
    assert pages(reader, 100, JobState.CANCELLED) == [[], [], []]


def test_of_many_jobs_of_one_moment_each_is_told_once(counting: CountingStore, redis: Redis, tmp_path: Path) -> None:
    """Some stores keep the time in seconds."""
    ids = [f"job-{number}" for number in range(5)]
    put_ended(tmp_path / "store", [(job_id, JobState.SUCCEEDED, 7) for job_id in ids])
    for limit in (1, 2, 5, 9):
        found = pages(JobReader(counting, redis), limit)
        assert sorted(job_id for page in found for job_id in page) == ids
        assert all(len(page) == limit for page in found[:-1])


def test_a_client_goes_on_where_a_page_ends(api: httpx.Client, api_ledger: Ledger) -> None:
    for number in range(5):
        api_ledger.accept(make_job(f"job-{number}"))
    api_ledger.cancel("job-3")
    for query, wanted in (({}, 5), ({"state": "queued"}, 4), ({"state": "cancelled"}, 1), ({"state": "failed"}, 0)):
        found: list[str] = []
        before: dict[str, str] = {}
        while True:
            answer = api.get("/jobs", params={"limit": 2} | query | before).json()
            assert len(answer["jobs"]) <= 2
            found += [job["id"] for job in answer["jobs"]]
            if answer["next"] is None:
                break
            before = {"before": answer["next"]}
        assert len(found) == len(set(found)) == wanted, query
    for place in ("", "x", "1", "1-", "-a", "1-ä", f"{'1' * 18}-a", "1-../x"):
        answer = api.get("/jobs", params={"before": place})
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), place
