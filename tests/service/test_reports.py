"""A project's report: there with the fit, with the names of its own seeds."""

import json

import httpx

from service.stores import FileStore
from tests.service.uploads import good_files, image_bytes, post_files

REPORT = {
    "seeds": [
        {"index": 0, "psnr_db": 27.0, "included": True, "reason": None, "held_out": {"mean_iou": 0.8}, "lpips": 0.1},
        {"index": 1, "psnr_db": 9.0, "included": False, "reason": "too bad", "held_out": None, "lpips": 0.5},
    ],
    "examples": {"segmentation": {"floor": 1}},
    "held_out": {"folds": 4, "segmentation": {"mean_iou": 0.8}},
    "flipped": {"psnr_db": 26.5, "straight_psnr_db": 26.9, "usable": 1, "used": 1},
    "lessons": 400,
    "advice": ["Give more."],
    "mean_psnr_db": 18.0,
}


def test_the_report_comes_with_the_fit_and_names_the_seeds(api: httpx.Client, api_store: FileStore) -> None:
    created = post_files(api, good_files(2)).json()
    project, names = created["id"], [seed["name"] for seed in created["seeds"]]
    for file in ("report", "report.png"):
        answer = api.get(f"/projects/{project}/{file}")
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-fitted")
        assert f"POST /projects/{project}/fit runs it" in answer.json()["detail"]
    api_store.put(f"projects/{project}/fit.json", json.dumps({"fit_key": "abc"}).encode())
    assert api.get(f"/projects/{project}/report").status_code == 404
    api_store.put("labelers/abc/report.json", json.dumps(REPORT).encode())
    api_store.put("labelers/abc/report.png", image_bytes())

    report = api.get(f"/projects/{project}/report").raise_for_status().json()
    assert (report["project_id"], report["fit_key"]) == (project, "abc")
    assert [seed.pop("name") for seed in report["seeds"]] == names
    assert report | {"seeds": report["seeds"]} == REPORT | {"project_id": project, "fit_key": "abc"}
    page = api.get(f"/projects/{project}/report.png")
    assert (page.status_code, page.headers["content-type"]) == (200, "image/png")


def test_a_report_of_an_earlier_version_is_shown_as_far_as_it_goes(api: httpx.Client, api_store: FileStore) -> None:
    project = post_files(api, good_files(1)).json()["id"]
    api_store.put(f"projects/{project}/fit.json", json.dumps({"fit_key": "old"}).encode())
    old = {"seeds": [{"index": 0, "psnr_db": 27.0, "included": True, "reason": None}], "training_iou": {"floor": 0.9}}
    api_store.put("labelers/old/report.json", json.dumps(old).encode())
    report = api.get(f"/projects/{project}/report").raise_for_status().json()
    assert (report["advice"], report["held_out"], report["flipped"], report["lessons"]) == ([], None, None, 0)
    assert report["training_iou"] == {"floor": 0.9}


def test_there_is_no_report_of_a_project_that_is_not_there(api: httpx.Client) -> None:
    for file in ("report", "report.png"):
        assert api.get(f"/projects/none/{file}").json()["type"] == "/problems/not-found"
