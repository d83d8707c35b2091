"""Good uploads, and what becomes of them."""

import io
import json
import os
import re
import threading
import unicodedata
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from redis import Redis

from service.app import create_app
from service.ledger import Ledger
from service.project_spec import parse_project
from service.projects import Upload, create_project
from service.records import GeneratorRecord, JobError, JobRecord, ProjectRecord, shard_key
from service.requests import DatasetFormat, GenerateRequest
from service.settings import Settings
from service.stores import FileStore, StoreUnavailable
from service.uploads import UploadedFile
from tests.service.jobs import make_generator, make_job
from tests.service.uploads import (
    PROJECT,
    good_files,
    image_bytes,
    labeled_files,
    mask_bytes,
    png,
    post_files,
    post_zip,
    without_utf_8_flag,
    zipped,
)

FOLDER = {f"my bears/{name}": data for name, data in good_files(3).items()}
DROPPINGS = {
    "__MACOSX/images/._bear00.png": b"x",
    "images/.DS_Store": b"x",
    "segmentation/Thumbs.db": b"x",
    "images/": b"",
}


@pytest.mark.parametrize(
    "files", [good_files(3), FOLDER, good_files(3) | DROPPINGS], ids=["plain", "one top folder", "droppings"]
)
def test_a_zip_becomes_a_project(api: httpx.Client, api_store: FileStore, files: dict[str, bytes]) -> None:
    answer = post_zip(api, zipped(files))
    assert answer.status_code == 201, answer.text
    project = answer.json()
    assert answer.headers["location"] == f"/projects/{project['id']}" == project["links"]["self"]
    assert api.get(answer.headers["location"]).json() == project
    assert [seed["name"] for seed in project["seeds"]] == ["bear00", "bear01", "bear02"]
    assert [item["name"] for item in project["classes"]] == ["background", "bear", "ears"]
    assert len({item["color"] for item in project["classes"]}) == 3
    assert project["classes"][0]["color"] == "#000000"
    assert project["seeds"][0]["class_pixels"] == {"background": 1366, "bear": 1365, "ears": 1365}
    stored = [row.key.removeprefix(f"projects/{project['id']}/") for row in api_store.list("projects/")]
    seeds = [f"seeds/{index}/{file}" for index in range(3) for file in ("image.png", "segmentation.png")]
    assert stored == ["project.json", *seeds]


def test_single_files_become_the_same_project(api: httpx.Client, api_store: FileStore) -> None:
    one, two = post_files(api, good_files()).json(), post_zip(api, zipped(good_files())).json()
    assert one["seeds"] == two["seeds"]
    for seed in range(2):
        key = f"seeds/{seed}/image.png"
        assert api_store.read(f"projects/{one['id']}/{key}") == api_store.read(f"projects/{two['id']}/{key}")


def test_a_project_part_goes_before_the_zips(api: httpx.Client, api_store: FileStore) -> None:
    answer = post_zip(api, zipped(good_files()), PROJECT | {"name": "Other bears"})
    assert answer.json()["name"] == "Other bears"


def renamed(files: dict[str, bytes], name: str) -> dict[str, bytes]:
    """The files of `labeled_files`, all about `name` instead of `bear00`; tables as they are."""
    return {path.replace("bear00", name): data for path, data in files.items()}


@pytest.mark.parametrize("post", ["zip", "files"])
def test_a_name_is_the_same_however_its_letters_are_put_together(api: httpx.Client, post: str) -> None:
    """A Mac names files by letters and marks, and tables are typed in letters that are whole."""
    whole, apart = "bär", unicodedata.normalize("NFD", "bär")
    assert whole != apart
    files = renamed(labeled_files(1, forced_seeds=[whole]), apart)
    for table in ("keypoints.json", "classes.csv"):
        files[table] = files[table].replace(b"bear00", whole.encode())
    answer = post_zip(api, without_utf_8_flag(zipped(files))) if post == "zip" else post_files(api, files)
    assert answer.status_code == 201, answer.text
    project = answer.json()
    assert [(seed["name"], seed["forced"]) for seed in project["seeds"]] == [(whole, True)]
    for name in (whole, apart):
        assert api.patch(project["links"]["self"], json={"forced_seeds": [name]}).json() == project


def test_a_seed_keeps_its_name(api: httpx.Client) -> None:
    names = ["a\u3000b\u00a0c\u202fd", "n" * 210 + "1", "n" * 210 + "2"]
    files = {"project.json": json.dumps(PROJECT).encode()}
    for name in names:
        files |= {f"images/{name}.png": image_bytes(), f"segmentation/{name}.png": mask_bytes()}
    project = post_files(api, files).json()
    assert [seed["name"] for seed in project["seeds"]] == names
    changed = api.patch(project["links"]["self"], json={"forced_seeds": names})
    assert changed.status_code == 200, changed.text
    assert all(seed["forced"] for seed in changed.json()["seeds"])


def test_what_does_not_print_in_an_older_record_is_replaced(api: httpx.Client, api_store: FileStore) -> None:
    project = post_files(api, labeled_files(1)).json()
    key = ProjectRecord.key(project["id"])
    stored = json.loads(api_store.read(key))
    stored["name"], stored["depth"]["unit"] = "Bears\x1b[2J", "m\nimport os"
    api_store.put(key, json.dumps(stored).encode())
    view = api.get(project["links"]["self"]).json()
    assert (view["name"], view["depth"]["unit"]) == ("Bears�[2J", "m�import os")


@pytest.mark.parametrize("flip", [True, False, None])
def test_a_project_tells_what_it_says_of_flipped_seeds(
    api: httpx.Client, api_store: FileStore, flip: bool | None
) -> None:
    project = post_zip(api, zipped(good_files()), PROJECT | {"flip": flip}).json()
    assert project["flip"] is flip
    assert api.get(project["links"]["self"]).json()["flip"] is flip


def test_fifty_seeds_of_other_sizes_are_fitted(api: httpx.Client, api_store: FileStore) -> None:
    files = good_files(49) | {
        "images/wide.JPG": image_bytes((200, 100), kind="JPEG"),
        "segmentation/wide.PNG": mask_bytes((200, 100)),
    }
    project = post_zip(api, zipped(files)).json()
    seed = project["seeds"][49]
    assert seed["fitting"] == {"original": [200, 100], "resized": [128, 64], "crop": [32, 0, 96, 64]}
    home = f"projects/{project['id']}/seeds/49"
    image = Image.open(io.BytesIO(api_store.read(f"{home}/image.png")))
    mask = Image.open(io.BytesIO(api_store.read(f"{home}/segmentation.png")))
    assert (image.mode, image.size, mask.mode, mask.size) == ("RGB", (64, 64), "L", (64, 64))
    original = np.arange(20_000).reshape(100, 200) % 3
    rows = ((np.arange(64) + 0.5) * 100 / 64).astype(int)
    columns = ((np.arange(32, 96) + 0.5) * 200 / 128).astype(int)
    assert np.array_equal(np.asarray(mask), original[rows][:, columns])
    counts = np.bincount(np.asarray(mask).ravel(), minlength=3)
    assert list(seed["class_pixels"].values()) == counts.tolist()


def test_a_stored_image_carries_nothing_but_pixels(api: httpx.Client, api_store: FileStore) -> None:
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    files = good_files(1) | {"images/bear00.png": image_bytes(exif=exif)}
    project = post_files(api, files).json()
    assert b"where I live" not in api_store.read(f"projects/{project['id']}/seeds/0/image.png")


def test_projects_are_listed(api: httpx.Client) -> None:
    assert api.get("/projects").json() == {"projects": [], "next": None}
    project = post_files(api, good_files()).json()
    rows = api.get("/projects").json()["projects"]
    assert [(row["id"], row["seeds"], row["classes"]) for row in rows] == [(project["id"], 2, 3)]
    assert (rows[0]["label_kinds"], rows[0]["keypoints"], rows[0]["attributes"]) == (["segmentation"], 0, 0)


def test_projects_are_listed_page_by_page(api: httpx.Client, api_store: FileStore) -> None:
    classes = [{"name": "background", "color": "#000000"}, {"name": "bear", "color": "#ffffff"}]
    ids = [f"p{number:03d}" for number in range(102)]
    for project_id in ids:
        project = {"id": project_id, "name": "Bears", "generator": "toy", "seeds": [], "classes": classes}
        api_store.put(ProjectRecord.key(project_id), json.dumps(project).encode())
        api_store.put(ProjectRecord.seed_key(project_id, 0, "image.png"), b"-")

    def listed(**query: str | int) -> tuple[list[str], str | None]:
        answer = api.get("/projects", params=query).json()
        return [row["id"] for row in answer["projects"]], answer["next"]

    assert listed() == (ids[:100], "p099")
    assert listed(after="p099") == (ids[100:], None)
    assert listed(limit=102) == (ids, None)
    assert listed(limit=1, after="p000") == (["p001"], "p001")
    assert listed(after="p050x", limit=1) == (["p051"], "p051"), "of an id that is gone, too"
    assert listed(after="p101") == ([], None)
    assert api.get("/projects?limit=0").status_code == api.get("/projects?limit=1001").status_code == 422


def test_a_list_of_projects_costs_what_it_shows(
    store: FileStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each project there are seeds in hundreds of files."""
    client = TestClient(create_app(settings))
    toy = make_generator()
    store.put(GeneratorRecord.key(toy.id), toy.model_dump_json().encode())
    ids = sorted(post_files(client, good_files(3)).json()["id"] for _ in range(4))
    listed, opened = [], []
    scandir, read = os.scandir, FileStore.read

    def noting_folders(folder: Path) -> Any:
        listed.append(Path(folder).name)
        return scandir(folder)

    def noting_keys(self: FileStore, key: str) -> bytes:
        opened.append(key)
        return read(self, key)

    monkeypatch.setattr(os, "scandir", noting_folders)
    monkeypatch.setattr(FileStore, "read", noting_keys)
    assert [row["id"] for row in client.get("/projects?limit=2").json()["projects"]] == ids[:2]
    assert listed == ["projects"]
    assert opened == [ProjectRecord.key(project_id) for project_id in ids[:3]], "one more, to know whether there are"


def test_a_project_in_use_is_not_deleted(api: httpx.Client, api_store: FileStore, api_ledger: Ledger) -> None:
    project = post_files(api, good_files()).json()["id"]
    job = make_job()
    job.request.project_id = project
    api_ledger.accept(job)
    answer = api.delete(f"/projects/{project}")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/project-in-use")
    api_ledger.fail(job.id, JobError(code="x", message="x", retry=False))
    assert api.delete(f"/projects/{project}").status_code == 204
    assert list(api_store.list("projects/")) == []
    assert api.get(f"/projects/{project}").status_code == 404
    assert api.delete(f"/projects/{project}").status_code == 404


@pytest.mark.parametrize("task", ["generate", "fit", "formats"])
def test_a_job_accepted_while_its_project_is_deleted_keeps_one_of_both(
    store: FileStore, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    """Whichever comes first, no accepted job is left without its project."""
    ledger = Ledger(store, redis, 1000)
    client = TestClient(create_app(settings))
    toy = make_generator()
    store.put(GeneratorRecord.key(toy.id), toy.model_dump_json().encode())

    def finished(project: str) -> None:
        request = GenerateRequest(project_id=project, count=5, formats=[DatasetFormat.PNG])
        ledger.accept(JobRecord(id="source", request=request))
        store.put(shard_key("source", 0), b"tar")
        ledger.succeed("source", {"png": "datasets/source/png.zip"})

    def ask(project: str) -> httpx.Response:
        if task == "generate":
            return client.post("/generate", json={"project_id": project, "count": 5})
        if task == "fit":
            return client.post(f"/projects/{project}/fit")
        return client.post("/jobs/source/formats", json={"formats": ["coco"]})

    project = post_files(client, good_files()).json()["id"]
    finished(project)
    accept, delete = Ledger.accept, FileStore.delete

    def deleting_meanwhile(self: Ledger, job: JobRecord) -> JobRecord:
        monkeypatch.undo()
        assert client.delete(f"/projects/{project}").status_code == 204
        return accept(self, job)

    monkeypatch.setattr(Ledger, "accept", deleting_meanwhile)
    assert ask(project).status_code == {"generate": 422, "fit": 404, "formats": 410}[task]
    assert [job.id for job in ledger.list()] == ["source"]
    assert redis.llen("rq:queue:labelmint") == 0

    ledger.forget("source")
    project = post_files(client, good_files()).json()["id"]
    finished(project)
    answers = []

    def accepting_meanwhile(self: FileStore, key: str) -> None:
        if key == ProjectRecord.key(project):
            monkeypatch.undo()
            answers.append(ask(project))
        delete(self, key)

    monkeypatch.setattr(FileStore, "delete", accepting_meanwhile)
    refusal = client.delete(f"/projects/{project}")
    assert (answers[0].status_code, refusal.status_code) == (202, 409)
    assert answers[0].json()["id"] in refusal.json()["detail"]
    assert len(client.get(f"/projects/{project}").json()["seeds"]) == 2
    assert store.exists(f"projects/{project}/seeds/0/image.png")


def test_the_sheet_comes_with_the_fit(api: httpx.Client, api_store: FileStore) -> None:
    project = post_files(api, good_files()).json()["id"]
    answer = api.get(f"/projects/{project}/sheet.png")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-fitted")
    assert f"POST /projects/{project}/fit runs it" in answer.json()["detail"]
    api_store.put(f"projects/{project}/fit.json", json.dumps({"fit_key": "abc"}).encode())
    assert api.get(f"/projects/{project}/sheet.png").status_code == 404
    api_store.put("labelers/abc/sheet.png", image_bytes())
    answer = api.get(f"/projects/{project}/sheet.png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")


@pytest.mark.parametrize("fails_at", [0, 3, 4])
def test_a_store_that_fails_is_left_empty(
    store: FileStore, settings: Settings, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    store.put("generators/toy/generator.json", make_generator().model_dump_json().encode())
    opened = good_files()
    files = [UploadedFile(path, lambda data=data: io.BytesIO(data)) for path, data in opened.items()]
    written: list[str] = []
    put = store.put

    def failing(key: str, data: bytes) -> int:
        written.append(key)
        if len(written) > fails_at:
            raise StoreUnavailable("full")
        return put(key, data)

    monkeypatch.setattr(store, "put", failing)
    with pytest.raises(StoreUnavailable):
        create_project(store, Upload(files, None, []), settings)
    assert [row.key for row in store.list()] == ["generators/toy/generator.json"]
    assert fails_at < 4 or written[-1].endswith("/project.json"), "the record comes last"


def test_uploads_at_the_same_time_do_not_mix(api: httpx.Client, api_store: FileStore) -> None:
    answers: list[httpx.Response] = []

    def post(number: int) -> None:
        project = PROJECT | {"name": f"Bears {number}"}
        answers.append(post_files(api, good_files(number + 1) | {"project.json": json.dumps(project).encode()}))

    threads = [threading.Thread(target=post, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = {answer.json()["name"]: len(answer.json()["seeds"]) for answer in answers}
    assert got == {f"Bears {number}": number + 1 for number in range(4)}
    keys = [ProjectRecord.key(answer.json()["id"]) for answer in answers]
    assert all(api_store.exists(key) for key in keys)


def test_the_document_describes_an_upload_that_is_taken(api: httpx.Client) -> None:
    """The example stands for itself, and no reference in the schema leads nowhere."""
    body = api.get("/openapi.json").json()["paths"]["/projects"]["post"]["requestBody"]
    schema = body["content"]["multipart/form-data"]["schema"]["properties"]["project"]
    assert "$ref" not in json.dumps(schema)
    assert {"classes", "keypoints", "depth", "attributes", "forced_seeds"} <= set(schema["properties"])
    spec, complaints = parse_project(json.dumps(schema["example"]).encode(), 255)
    assert complaints == []
    assert spec is not None
    assert spec.keypoints is not None


def test_the_example_of_the_readme_is_taken(api: httpx.Client) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    section = readme[readme.index("## What to upload") : readme.index("## A generator of your own")]
    project, coco = re.findall(r"```json\n(.+?)```", section, re.DOTALL)[:2]
    tables = [block.strip() for block in section.split("```") if block.strip().startswith("image,")]
    points, classes = (table.splitlines() for table in tables)
    files = {
        "project.json": project.replace("toy-bears", "toy").encode(),
        "classes.csv": "\n".join(classes).encode(),
    }
    depth = png(Image.fromarray(np.full((64, 64), 1500, np.uint16)))
    for name in ("NAME", "OTHER"):
        files |= {f"images/{name}.png": image_bytes(), f"depth/{name}.png": depth}
        files[f"segmentation/{name}.png"] = mask_bytes(values=2)
    points += [line.replace("NAME", "OTHER").replace(",,,0", ",3,4,1") for line in points[1:]]
    answer = post_files(api, files | {"keypoints.csv": "\n".join(points).encode()})
    assert answer.status_code == 201, answer.text
    assert [seed["visible_points"] for seed in answer.json()["seeds"]] == [1, 1]
    content = json.loads(coco)
    content["images"].append({"id": 2, "file_name": "OTHER.png"})
    content["annotations"].append({"image_id": 2, "keypoints": [1, 2, 2, 3, 4, 2, 5, 6, 2]})
    answer = post_files(api, files | {"keypoints.json": json.dumps(content).encode()})
    assert answer.status_code == 201, answer.text


def test_records_of_a_later_version_count_as_missing(api: httpx.Client, api_store: FileStore) -> None:
    """After an upgrade that was taken back, what can be read is there."""
    project = post_zip(api, zipped(good_files(3))).json()
    later = api_store.read(ProjectRecord.key(project["id"])).replace(b"{", b'{"flavour": "sweet", ', 1)
    api_store.put(ProjectRecord.key("later"), later)
    generator = api_store.read(GeneratorRecord.key("toy")).replace(b"{", b'{"flavour": "sweet", ', 1)
    api_store.put(GeneratorRecord.key("later"), generator)
    for kind in ("projects", "generators"):
        assert api.get(f"/{kind}/later").status_code == 404
        listed = [row["id"] for row in api.get(f"/{kind}").json()[kind]]
        assert listed
        assert "later" not in listed
    assert api.get("/").status_code == 200
