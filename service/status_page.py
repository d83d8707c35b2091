"""What the page at `/` shows: the service at a glance.

It reads a bounded number of records. What grows with the service are a list of the names of all jobs, of all projects
and of all generators, and Redis's word on the state of each unfinished job.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

import redis
import structlog

from service.dependencies import Parts
from service.generators import every_generator, find_generator
from service.label_schema import LabelKind
from service.printed import printed, shortened_text
from service.projects import ProjectFit, every_project, find_project
from service.records import (
    GeneratorRecord,
    JobRecord,
    JobState,
    ProjectRecord,
    labeler_key,
    preview_key,
)
from service.requests import GenerateRequest
from service.stores.protocol import ObjectMissing, Store, StoreUnavailable
from service.views import GeneratorView, JobView, ProjectSummary, generator_link

ROWS = 20
"""Jobs, projects and generators that are shown, of each."""

_log = structlog.get_logger(__name__)
_ERROR_LENGTH = 1000

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job."""

    view: JobView
    about: str
    """The name of its project or generator, or the id of one that is gone or not made yet."""
    about_link: str | None
    """None where it would lead nowhere."""
    preview: str | None
    """The link to its picture, if there is one already."""

    @property
    def kind(self) -> str:
        """What it does, in some words."""
        request = self.view.request
        made = f" {_counted(request.count, 'sample')}" if isinstance(request, GenerateRequest) else ""
        return f"{request.task}{made}"

    @property
    def progress(self) -> str:
        """How far its phase is, in words; empty before the first one."""
        phase, progress = self.view.phase, self.view.progress
        if phase is None:
            return ""
        counted = f": {progress.done:,} of {progress.total:,} {phase.unit}" if progress.total else ""
        return f"{phase}{counted}"

    @property
    def time_left(self) -> str | None:
        """To the end of its phase, where that is known."""
        eta_s = self.view.progress.eta_s
        return None if eta_s is None or self.view.state.is_terminal else duration(eta_s)

    @property
    def time_taken(self) -> str | None:
        """From its start to its end, where it has had both."""
        started, finished = self.view.started, self.view.finished
        return duration((finished - started).total_seconds()) if started and finished else None

    @property
    def error(self) -> str | None:
        """Why it failed."""
        return None if self.view.error is None else shortened_text(self.view.error.message, _ERROR_LENGTH)


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """One project."""

    view: ProjectSummary
    is_fitted: bool
    """Whether there is a report of it."""

    @property
    def labels(self) -> list[str]:
        """Its label kinds, with how much of each there is."""
        view = self.view
        counts = {
            LabelKind.SEGMENTATION: f" ({_counted(view.classes, 'class', 'classes')})",
            LabelKind.KEYPOINTS: f" ({_counted(view.keypoints, 'point')})",
            LabelKind.CLASS: f" ({_counted(view.attributes, 'attribute')})",
        }
        return [f"{kind}{counts.get(kind, '')}" for kind in view.label_kinds]

    @property
    def seeds(self) -> str:
        """How many it has, in words."""
        return _counted(self.view.seeds, "seed")


@dataclass(frozen=True, slots=True)
class GeneratorRow:
    """One generator."""

    view: GeneratorView

    @property
    def name(self) -> str:
        """What people call it, without what does not print."""
        return printed(self.view.name)


@dataclass(frozen=True, slots=True)
class Rows(Generic[R]):
    """The first rows of a list, and whether it goes on."""

    rows: list[R]
    more: bool

    @classmethod
    def of(cls, records: Iterable[T], row: Callable[[T], R]) -> "Rows[R]":
        """As many as are shown. Of what comes after them, one record is taken at most."""
        taken = list(islice(records, ROWS + 1))
        return cls([row(record) for record in taken[:ROWS]], len(taken) > ROWS)


@dataclass(frozen=True, slots=True)
class StatusPage:
    """All that the page says. None is what cannot be told, because what knows it is out."""

    out: list[str]
    """What cannot be reached: `redis`, `store`."""
    workers: int | None
    unfinished: dict[JobState, int] | None
    """State → jobs in it, of the states that are not the last one, where there are any."""
    jobs: Rows[JobRow] | None
    projects: Rows[ProjectRow] | None
    generators: Rows[GeneratorRow] | None

    @property
    def will_change(self) -> bool:
        """Whether a job is queued or running."""
        shown = self.jobs.rows if self.jobs else []
        return bool(self.unfinished) or any(not job.view.state.is_terminal for job in shown)


def status_page(parts: Parts, out: Iterable[str] = ()) -> StatusPage:
    """The page as it is now. `out` is known to be out, `redis` or `store`, and is not asked."""
    ask, store = _Asking(out), parts.store

    def job_row(job: JobRecord) -> JobRow:
        return _job_row(job, store, names)

    def project_row(project: ProjectRecord) -> ProjectRow:
        names[f"/projects/{project.id}"] = project.name
        return ProjectRow(ProjectSummary.of(project), _is_fitted(store, project.id))

    def generator_row(generator: GeneratorRecord) -> GeneratorRow:
        row = GeneratorRow(GeneratorView.of(generator))
        names[row.view.links.self] = row.name
        return row

    names: dict[str, str | None] = {}
    projects = ask(lambda: Rows.of(every_project(store), project_row), "store")
    generators = ask(lambda: Rows.of(every_generator(store), generator_row), "store")
    jobs = ask(lambda: Rows.of(parts.ledger.recent(), job_row), "redis", "store")
    workers = ask(parts.queue.workers, "redis")
    counts = ask(parts.ledger.counts, "redis")
    unfinished = counts and {state: count for state, count in counts.items() if count and not state.is_terminal}
    return StatusPage(sorted(ask.out), workers, unfinished, jobs, projects, generators)


def duration(seconds: float) -> str:
    """In the largest unit of which there are two or more, and never less than a second."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{max(1, round(seconds))} s"


class _Asking:
    """Asks the store and Redis, and does not ask again what did not answer."""

    def __init__(self, out: Iterable[str]) -> None:
        self.out = set(out)

    def __call__(self, question: Callable[[], T], *asked: str) -> T | None:
        """The answer; None if one of those it is `asked` of is out."""
        if self.out.intersection(asked):
            return None
        try:
            return question()
        except StoreUnavailable as error:
            _log.error("store unavailable", reason=str(error))
            self.out.add("store")
        except redis.RedisError as error:
            _log.error("redis unavailable", reason=str(error))
            self.out.add("redis")
        return None


def _job_row(job: JobRecord, store: Store, names: dict[str, str | None]) -> JobRow:
    """`names`: link → name of what it leads to, None if there is nothing; what is looked up is added."""
    view = JobView.of(job)
    # Even a training that was cancelled or failed may have left a generator: whether it did, the store tells.
    link = view.links.project or generator_link(job)
    if link and link not in names:
        names[link] = _name(store, job)
    name = names[link] if link else None
    about = name or getattr(job.request, "name", None) or job.project_id or job.generator_id or ""
    preview = view.links.preview if view.links.preview and store.exists(preview_key(job)) else None
    return JobRow(view, printed(about), link if name else None, preview)


def _name(store: Store, job: JobRecord) -> str | None:
    if job.project_id:
        found: ProjectRecord | GeneratorRecord | None = find_project(store, job.project_id)
    else:
        found = find_generator(store, job.generator_id or "")
    return found.name if found else None


def _is_fitted(store: Store, project_id: str) -> bool:
    try:
        fit = ProjectFit.model_validate_json(store.read(ProjectFit.key(project_id)))
    except ObjectMissing:
        return False
    return store.exists(labeler_key(fit.fit_key, "report.png"))


def _counted(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
