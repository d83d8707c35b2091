"""A request is the same after it has lain in the store."""

import pytest

from service.records import JobRecord
from service.views import JobView

SPLIT = {"train": 0.5, "val": 0.5, "test": 0.0}
BODIES = [
    {"task": "generate", "project_id": "bears", "count": 9, "balance": {"class": {"panda": 3}, "max_attempts": 5}},
    {"task": "generate", "project_id": "bears", "count": 9, "truncation": 1, "split": SPLIT | {"train": 0, "val": 1}},
    {"task": "package", "job_id": "job", "project_id": "bears", "formats": ["coco"], "split": SPLIT},
]


@pytest.mark.parametrize("body", BODIES)
def test_a_request_survives_its_record_and_its_view(body: dict[str, object]) -> None:
    job = JobRecord.model_validate({"id": "one", "request": body})
    again = JobRecord.model_validate_json(job.model_dump_json())
    assert again == job
    shown = JobView.of(again).model_dump(mode="json")["request"]
    if "balance" in body:
        assert shown["balance"].pop("coverage") == {}
    assert {name: shown[name] for name in body} == body
