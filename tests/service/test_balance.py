"""How a balance names the values of attributes, some of which contain `=` themselves."""

from typing import Any

import httpx
import pytest

from service.balance import look_up
from service.label_schema import Attribute, LabelSchema
from service.requests import Balance
from tests.service.uploads import labeled_files, post_files

LONG = "x" * 64


def places(name: str, **attributes: list[str]) -> list[tuple[int, int] | None]:
    """What `name` means in a project with these attributes."""
    return [item.attribute for item in looked_up(name, attributes)[0]]


def looked_up(name: str, attributes: dict[str, list[str]]) -> Any:
    schema = LabelSchema(attributes=[Attribute(name=key, values=values) for key, values in attributes.items()])
    return look_up(Balance.model_validate({"class": {name: 1}}), schema)


@pytest.mark.parametrize("name", ["x=y", "class=x=y"])
def test_a_value_with_an_equals_sign_is_found_by_both_its_spellings(name: str) -> None:
    assert places(name, **{"class": ["0", "x=y", "-"]}) == [(0, 1)]


@pytest.mark.parametrize(
    ("name", "place"), [("a=b=c", (0, 0)), ("c", (0, 0)), ("class=c", (1, 0)), ("class=class=c", (1, 1))]
)
def test_the_whole_spelling_goes_before_a_value_that_reads_like_it(name: str, place: tuple[int, int]) -> None:
    attributes = {"a=b": ["c", "d"], "class": ["c", "class=c"] if "class" in name else ["e", "f"]}
    assert places(name, **attributes) == [place]


def test_names_of_any_length_can_be_told_apart() -> None:
    assert places(f"{LONG}={LONG}", **{LONG: [LONG, "-"], "other": [LONG, "-"]}) == [(0, 0)]


@pytest.mark.parametrize(
    ("attributes", "remedy"),
    [
        ({"a": ["b=c", "-"], "a=b": ["c", "d"]}, "write b=c or c"),
        ({"a": ["b=c", "-"], "a=b": ["c", "d"], "x": ["c", "b=c"]}, "leave it out: no spelling tells them apart"),
        ({"x": ["a=b=c", "-"], "y": ["a=b=c", "d"]}, "write x=a=b=c or y=a=b=c"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_with_what_cannot(
    attributes: dict[str, list[str]], remedy: str
) -> None:
    items, (complaint,) = looked_up("a=b=c", attributes)
    assert (items, complaint.message, complaint.remedy) == ([], "several attributes have this value", remedy)
    if remedy.startswith("write "):
        advised = remedy.removeprefix("write ").split(" or ")
        assert all(len(places(name, **attributes)) == 1 for name in advised)


@pytest.mark.parametrize("name", ["x=y", "class=x=y"])
def test_a_job_is_accepted_that_is_balanced_on_such_a_value(api: httpx.Client, name: str) -> None:
    only_attributes = {"classes": None, "keypoints": None, "depth": None}
    attributes = [{"name": "class", "values": ["x=y", "-", "0"]}]
    files = labeled_files(attributes=attributes, **only_attributes)
    files = {path: data for path, data in files.items() if path.startswith(("project", "images/"))}
    project = post_files(api, files | {"classes.csv": b"image,class\nbear00,x=y\nbear01,0\n"}).json()["id"]
    body = {"project_id": project, "count": 5, "balance": {"class": {name: 2}}}
    assert api.post("/generate", json=body).status_code == 202
