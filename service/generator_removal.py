"""Deleting a generator that nothing uses."""

import redis

from service.generators import find_generator, generators_lock, unfinished_jobs
from service.ledger import Ledger
from service.problems import Problem, not_found
from service.projects import every_project
from service.records import GeneratorRecord
from service.stores.protocol import Store
from service.users import users_in_words


def remove_generator(store: Store, ledger: Ledger, connection: redis.Redis, generator_id: str) -> None:
    """Remove the generator with all that was learnt about it.

    Its record goes first, so that no half of it is ever found, and comes back if a project turns out to have named it
    at that moment. Raises `Problem`: 404, and 409 while it is in use.
    """
    _removable(store, generator_id)
    # Not under the lock, for it reads every project there is; most of what is refused is refused here.
    _refuse_if_in_projects(store, generator_id)
    with generators_lock(connection):
        record = _removable(store, generator_id)
        _refuse_if_in_jobs(ledger, generator_id)
        store.delete(GeneratorRecord.key(generator_id))
        try:
            _refuse_if_in_projects(store, generator_id)
        except BaseException:
            store.put(GeneratorRecord.key(generator_id), record.model_dump_json(indent=1).encode())
            raise
        store.delete_prefix(f"generators/{generator_id}/")


def _removable(store: Store, generator_id: str) -> GeneratorRecord:
    """The generator. Raises `Problem`: 404, and 409 if it is a bundled one."""
    record = find_generator(store, generator_id)
    if record is None:
        raise not_found("generator")
    if record.source == "bundled":
        raise _in_use(f"{generator_id} comes with labelmint and would come back at the next start.")
    return record


def _refuse_if_in_projects(store: Store, generator_id: str) -> None:
    projects = [project.id for project in every_project(store) if project.generator == generator_id]
    if projects:
        users, named = users_in_words(projects, "project")
        raise _in_use(f"{users} generator {generator_id}; delete first: {named}.")


def _refuse_if_in_jobs(ledger: Ledger, generator_id: str) -> None:
    """Call it under the `generators_lock`: such jobs are accepted under it, too."""
    jobs = [job.id for job in unfinished_jobs(ledger) if generator_id in _generators_of(job.request)]
    if jobs:
        users, named = users_in_words(jobs, "unfinished job")
        raise _in_use(f"{users} generator {generator_id}; cancel first: {named}.")


def _generators_of(request: object) -> tuple[str | None, str | None]:
    return getattr(request, "generator_id", None), getattr(request, "start", None)


def _in_use(detail: str) -> Problem:
    return Problem(409, "generator-in-use", "Generator in use", detail)
