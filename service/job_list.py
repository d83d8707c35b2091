"""Listing jobs page by page, the newest first, at a bounded cost for each page."""

from contextlib import suppress
from dataclasses import dataclass

from service.job_reader import JobMissing, JobReader, Place
from service.records import JobRecord, JobState, event_id

LOOKS = 1000
"""Records of jobs that are read for a page, at most, beside those of unfinished ones."""

PLACE = r"^[0-9]{1,17}-[A-Za-z0-9._-]{1,255}$"
"""What `JobPage.next` looks like."""


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, and how to go on."""

    jobs: list[JobRecord]
    next: str | None
    """Where the page ends, for `job_page` to go on from; None if that is the end of all."""


def job_page(reader: JobReader, limit: int, state: JobState | None, before: str | None) -> JobPage:
    """As many as `limit` jobs, those in one `state` if that is given, which are older than the place `before`.

    Where unfinished jobs are asked for, those accepted last come first, and no others are looked at. Else those
    accepted, cancelled or ended last do, and after `LOOKS` of them the page ends, however few were in the `state`.
    Errors of Redis and `StoreUnavailable` pass through unchanged.
    """
    known: dict[Place, JobRecord] = {}
    if state is None or state.is_terminal:
        places = reader.places()
    else:
        known = {Place(event_id(job.created), job.id): job for job in reader.unfinished() if job.state is state}
        places = sorted(known, reverse=True)
    if before is not None:
        moment, _, job_id = before.partition("-")
        places = [place for place in places if place < Place(int(moment), job_id)]
    jobs: list[JobRecord] = []
    for looks, place in enumerate(places):
        if len(jobs) == limit or looks == LOOKS:
            last = places[looks - 1]
            return JobPage(jobs, f"{last.moment}-{last.job_id}")
        with suppress(JobMissing):
            job = known.get(place) or reader.get(place.job_id)
            if state is None or job.state is state:
                jobs.append(job)
    return JobPage(jobs, None)
