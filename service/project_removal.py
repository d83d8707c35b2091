"""Deleting a project that nothing uses."""

import redis

from service.ledger import Ledger
from service.problems import Problem
from service.projects import known_project, project_lock, remove_project
from service.records import ProjectRecord
from service.stores.protocol import Store
from service.users import users_in_words


def remove_unused_project(store: Store, ledger: Ledger, connection: redis.Redis, project_id: str) -> None:
    """Remove the project and its seeds.

    Its record goes first, so that no half of it is ever found, and comes back if a job turns out to have been accepted
    for it at that moment. Raises `Problem`: 404, and 409 while unfinished jobs use it.
    """
    known_project(store, project_id)
    _refuse_if_used(ledger, project_id)
    with project_lock(connection, project_id):
        project = known_project(store, project_id)
        store.delete(ProjectRecord.key(project_id))
        try:
            _refuse_if_used(ledger, project_id)
        except BaseException:
            store.put(ProjectRecord.key(project_id), project.model_dump_json(indent=1).encode())
            raise
        remove_project(store, project_id)


def _refuse_if_used(ledger: Ledger, project_id: str) -> None:
    jobs = [job.id for job in ledger.unfinished() if job.project_id == project_id]
    if jobs:
        users, named = users_in_words(jobs, "unfinished job")
        raise Problem(409, "project-in-use", "Project in use", f"{users} the project; cancel first: {named}.")
