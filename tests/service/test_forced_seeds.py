"""Forcing seeds into the fit of a project that is there already."""

import threading
from typing import Any

import httpx
import pytest
from redis import Redis

from service.projects import project_lock, remove_project
from service.stores import FileStore
from tests.service.uploads import labeled_files, post_files


@pytest.fixture
def project(api: httpx.Client) -> dict[str, Any]:
    answer = post_files(api, labeled_files(3, forced_seeds=["bear00"]))
    assert answer.status_code == 201, answer.text
    view: dict[str, Any] = answer.json()
    return view


def forced(api: httpx.Client, project: dict[str, Any]) -> list[bool]:
    return [seed["forced"] for seed in api.get(project["links"]["self"]).json()["seeds"]]


def test_the_list_is_replaced_and_nothing_else_changes(api: httpx.Client, project: dict[str, Any]) -> None:
    home = project["links"]["self"]
    assert forced(api, project) == [True, False, False]
    changed = api.patch(home, json={"forced_seeds": ["bear02", "bear01"]})
    assert changed.status_code == 200, changed.text
    assert changed.json() == api.get(home).json()
    assert forced(api, project) == [False, True, True]
    assert api.patch(home, json={"forced_seeds": []}).status_code == 200
    assert forced(api, project) == [False, False, False]
    assert api.patch(home, json={"forced_seeds": ["bear00"]}).json() == project


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"forced_seeds": ["bear01", "bear09"]}, "forced_seeds.1", "'bear09' is the NAME of no image"),
        ({"forced_seeds": ["bear01", "bear01"]}, "forced_seeds.1", "'bear01' is there twice"),
        ({"forced_seeds": ["x"] * 200}, "forced_seeds.99", "NAME of no image"),
        ({"forced_seeds": ["x"] * 200}, None, "100 more faults"),
        ({"forced_seeds": "bear01"}, "forced_seeds", "valid list"),
        ({"forced_seeds": [1]}, "forced_seeds.0", "valid string"),
        ({"forced_seeds": ["bear01"], "name": "Bears"}, "name", "unknown field"),
        ({}, "forced_seeds", "required"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_changes(
    api: httpx.Client, project: dict[str, Any], body: dict[str, Any], field: str | None, message: str
) -> None:
    answer = api.patch(project["links"]["self"], json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["type"] == "/problems/invalid-request"
    errors = answer.json()["errors"]
    assert [error for error in errors if error.get("field") == field and message in error["message"]]
    assert not [error for error in errors if "file" in error], "nothing was uploaded"
    assert forced(api, project) == [True, False, False]


def test_another_body_or_project_is_refused(api: httpx.Client, project: dict[str, Any]) -> None:
    missing = api.patch("/projects/none", json={"forced_seeds": []})
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/not-found")
    form = api.patch(project["links"]["self"], data={"forced_seeds": "bear01"})
    assert (form.status_code, form.headers["content-type"]) == (415, "application/problem+json")


def test_a_project_removed_meanwhile_stays_removed(
    api: httpx.Client, api_store: FileStore, redis: Redis, project: dict[str, Any]
) -> None:
    answers = []
    change = threading.Thread(
        target=lambda: answers.append(api.patch(project["links"]["self"], json={"forced_seeds": []}))
    )
    with project_lock(redis, project["id"]):
        change.start()
        change.join(0.3)
        assert not answers
        remove_project(api_store, project["id"])
    change.join()
    assert answers[0].status_code == 404
    assert list(api_store.list("projects/")) == []
