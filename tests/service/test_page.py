"""The page at `/`: what people see of the service, whatever strangers have named their things."""

import base64
import json
import shutil
import time
from hashlib import sha256
from pathlib import Path

import httpx
from redis import Redis
from rq import Queue, Worker
from rq.serializers import JSONSerializer

from service.app import create_app
from service.ledger import Ledger
from service.queue import QUEUE_NAME
from service.records import GeneratorRecord, JobError, JobRecord, Phase, ProjectRecord
from service.requests import FitRequest, TrainRequest
from service.routes.page import refresh_s
from service.settings import Settings
from service.status_page import ROWS, duration, status_page
from service.stores import FileStore
from tests.service.html_page import Page
from tests.service.jobs import make_generator, make_job
from tests.service.processes import api_process
from tests.service.uploads import image_bytes, labeled_files, post_files

HOSTILE = "<script>alert(1)</script>\"' onerror='x' שלום"


def page_of(api: httpx.Client) -> Page:
    return Page(api.get("/").raise_for_status())


def put_generator(store: FileStore, generator_id: str, name: str = "Toy") -> None:
    generator = make_generator(generator_id).model_copy(update={"name": name})
    store.put(GeneratorRecord.key(generator_id), generator.model_dump_json().encode())


def put_project(store: FileStore, project_id: str, name: str = "Bears") -> None:
    classes = [{"name": "background", "color": "#000000"}]
    project = ProjectRecord.model_validate(
        {"id": project_id, "name": name, "generator": "toy", "seeds": [], "classes": classes}
    )
    store.put(ProjectRecord.key(project_id), project.model_dump_json().encode())


def test_an_empty_service_says_what_it_is_and_what_to_do_next(api: httpx.Client, api_url: str) -> None:
    page = page_of(api)
    assert "labeled images into a labeled dataset" in page.text
    assert f"curl -F archive=@bears.zip '{api_url}/projects'" in page.text
    assert {"docs", "generators/toy", "generators/toy/samples.png"} <= page.links
    assert "Toy toy , 64 × 64 pixels, with an encoder" in page.text
    assert "Store: answers. Redis: answers. Workers: 0. Jobs wait" in page.text
    assert page.refresh is None
    assert page.all("img") == []
    assert page.all("html") == [{"lang": "en"}]
    for link in page.links - {"generators/toy/samples.png"}:
        assert api.get(f"/{link}").status_code == 200, link


def test_a_host_that_means_something_to_a_shell_is_not_in_the_command(api: httpx.Client) -> None:
    for host in ("x';rm -rf ~;'", "[::", ""):
        page = Page(api.get("/", headers={"host": host}))
        assert "rm -rf" not in page.text
    assert "'http://[::1]:80/projects'" in Page(api.get("/", headers={"host": "[::1]:80"})).text


def test_workers_are_counted(api: httpx.Client, redis: Redis) -> None:
    queue = Queue(QUEUE_NAME, connection=redis, serializer=JSONSerializer)
    Worker([queue], connection=redis, serializer=JSONSerializer).register_birth()
    assert "Workers: 1." in (text := page_of(api).text)
    assert "Jobs wait" not in text


def test_jobs_in_every_state_are_shown_with_what_they_have(
    api: httpx.Client, api_ledger: Ledger, api_store: FileStore
) -> None:
    put_project(api_store, "bears", "Brown bears")
    for number in range(4):
        api_ledger.accept(make_job(f"job-{number}", count=1000 + number))
    api_ledger.accept(JobRecord(id="job-fit", request=FitRequest(project_id="gone")))
    api_ledger.accept(JobRecord(id="gen-cats", request=TrainRequest(generator_id="cats", name="Cats", sha256="0" * 64)))
    api_ledger.start("job-1")
    api_ledger.enter_phase("job-1", Phase.GENERATE, 1001)
    api_ledger.advance_shard("job-1", 0, 400)
    api_ledger.start("job-2")
    api_ledger.cancel("job-2")
    api_store.put("datasets/job-3/preview.png", image_bytes())
    api_ledger.note("job-3", "Look here")
    api_ledger.start("job-3")
    api_ledger.succeed("job-3", {"coco": "datasets/job-3/coco.zip", "png": "datasets/job-3/png.zip"})
    time.sleep(0.01)
    api_ledger.fail("job-fit", JobError(code="fit-failed", message="Too <few> seeds.", retry=False))
    api_ledger.start("gen-cats")
    api_ledger.enter_phase("gen-cats", Phase.TRAIN, 0)

    page = page_of(api)
    assert "Now: 1 queued , 2 running , 1 cancelling" in page.text
    assert "generate 1,000 samples queued" in page.text
    assert page.all("progress")[0] == {"aria-label": "train"}
    assert page.all("progress")[1] == {"aria-label": "generate", "value": "400", "max": "1001"}
    assert "generate: 400 of 1,001 samples, about" in page.text
    assert "generate 1,002 samples cancelling" in page.text
    assert "generate 1,003 samples succeeded project Brown bears" in page.text
    assert page.text.count(", took ") == 1
    assert "1 note" in page.text
    assert "fit failed project gone" in page.text
    assert "Too <few> seeds." in page.text
    assert "train running generator Cats" in page.text
    made = {f"jobs/job-3/download?format={name}" for name in ("coco", "png")}
    assert {"jobs/job-0", "projects/bears", "jobs/job-3/preview.png", "jobs?state=running"} | made <= page.links
    assert not {"projects/gone", "generators/cats"} & page.links
    assert [image["src"] for image in page.all("img")] == ["jobs/job-3/preview.png"], "none that is not there yet"
    assert (page.all("img")[0]["alt"], page.all("img")[0]["loading"]) == ("Samples of job job-3", "lazy")
    assert page.text.index("fit failed") < page.text.index("1,003 samples") < page.text.index("1,000 samples")


def test_a_generator_that_a_cancelled_training_left_is_linked_to(api: httpx.Client, api_ledger: Ledger) -> None:
    api_ledger.accept(JobRecord(id="gen-toy", request=TrainRequest(generator_id="toy", name="Toy", sha256="0" * 64)))
    api_ledger.cancel("gen-toy")
    page = page_of(api)
    assert "train cancelled generator Toy" in page.text
    assert [link["href"] for link in page.all("a")].count("generators/toy") == 2, "of the job, and of the generator"


def test_it_refreshes_itself_only_while_a_job_is_queued_or_runs(api: httpx.Client, api_ledger: Ledger) -> None:
    assert page_of(api).refresh is None
    api_ledger.accept(make_job())
    assert int(page_of(api).refresh or 0) >= 2
    api_ledger.start("job-1")
    assert int(page_of(api).refresh or 0) >= 2
    api_ledger.fail("job-1", JobError(code="timeout", message="Too slow.", retry=True))
    assert page_of(api).refresh is None
    api_ledger.accept(make_job("old"))
    for number in range(ROWS):
        api_ledger.accept(make_job(f"new-{number}"))
        api_ledger.cancel(f"new-{number}")
    page = page_of(api)
    assert "jobs/old" not in page.links
    assert "Now: 1 queued" in page.text
    assert page.refresh, "although the job is not among those shown"


def test_who_waits_long_for_the_page_asks_for_it_less_often() -> None:
    assert [refresh_s(took_s) for took_s in (0.01, 0.5, 3.0)] == [2, 2, 12]
    assert [duration(seconds) for seconds in (0, 119, 120, 7300, 2e5)] == ["1 s", "119 s", "2 min", "2 h", "2 days"]


def test_a_project_shows_its_labels_and_once_it_is_fitted_its_report(api: httpx.Client, api_store: FileStore) -> None:
    project = post_files(api, labeled_files()).json()["id"]
    home = f"projects/{project}"
    page = page_of(api)
    assert "curl" not in page.text
    assert "2 seeds: segmentation (3 classes), keypoints (3 points), depth, class (2 attributes)" in page.text
    assert {home, "generators/toy"} <= page.links
    assert f"{home}/report" not in page.links
    api_store.put(f"{home}/fit.json", json.dumps({"fit_key": "abc"}).encode())
    assert page_of(api).all("img") == [], "it is only being fitted"
    api_store.put("labelers/abc/report.png", image_bytes())
    page = page_of(api)
    assert {f"{home}/report", f"{home}/report.png", f"{home}/sheet.png"} <= page.links
    assert [image["src"] for image in page.all("img")] == [f"{home}/report.png"]


def test_hostile_names_are_text(api: httpx.Client, api_ledger: Ledger, api_store: FileStore) -> None:
    put_project(api_store, "bears", HOSTILE + "\u202e")
    api_store.put("projects/bears/fit.json", b'{"fit_key": "abc"}')
    api_store.put("labelers/abc/report.png", image_bytes())
    put_generator(api_store, "evil", HOSTILE + "\u202e")
    api_ledger.accept(make_job())
    api_ledger.fail("job-1", JobError(code="timeout", message=HOSTILE * 100, retry=True))
    page = page_of(api)
    assert page.text.count(f"{HOSTILE}�") == 3
    assert page.text.count(HOSTILE) < 40, "an error is cut"
    assert page.all("img")[0]["alt"] == f"How right the labels of {HOSTILE}� will be"
    assert not {"script", "iframe"} & {tag for tag, _ in page.elements}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert len(page.all("bdi")) == 5, "no name or error turns the words around it"


def test_lists_are_bounded_and_say_where_the_rest_is(
    api: httpx.Client, api_ledger: Ledger, api_store: FileStore
) -> None:
    def more(page: Page) -> set[str]:
        return page.links & {"jobs?limit=1000", "projects", "generators"}

    for number in range(ROWS - 1):
        put_project(api_store, f"p-{number:02d}")
        put_generator(api_store, f"g-{number:02d}")
        api_ledger.accept(make_job(f"job-{number:02d}"))
    put_project(api_store, "p-98")
    api_ledger.accept(make_job("job-98"))
    page = page_of(api)
    assert len(page.all("h3")) == 3 * ROWS
    assert more(page) == set()
    put_project(api_store, "p-99")
    put_generator(api_store, "g-99")
    api_ledger.accept(make_job("job-99"))
    page = page_of(api)
    assert len(page.all("h3")) == 3 * ROWS
    assert more(page) == {"jobs?limit=1000", "projects", "generators"}
    assert "jobs/job-99" in page.links, "the newest one is among them"


def test_the_page_may_do_and_load_nothing_else(api: httpx.Client) -> None:
    answer = api.get("/")
    page, headers = Page(answer), answer.headers
    rules = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    style = base64.b64encode(sha256(page.style.encode()).digest()).decode()
    nothing = dict.fromkeys(("default-src", "base-uri", "form-action", "frame-ancestors"), "'none'")
    assert rules == nothing | {"img-src": "'self'", "style-src": f"'sha256-{style}'"}
    assert "color-scheme" in page.style
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert headers["cache-control"] == "no-store"
    assert not {link for link in page.links if link.startswith("/") or ":" in link}, "it works behind any prefix"
    head = api.head("/")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == headers["content-length"]
    assert head.headers["content-security-policy"] == headers["content-security-policy"]
    assert "/" not in api.get("/openapi.json").json()["paths"]


def test_the_page_tells_what_is_out(tmp_path: Path) -> None:
    with api_process(tmp_path, "redis://127.0.0.1:9/0") as process:
        put_project(FileStore(tmp_path / "store"), "bears", "Brown bears")
        answer = httpx.get(process.url, timeout=30)
        page = Page(answer)
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        assert [tag["role"] for tag in page.all("p") if "role" in tag] == ["alert"]
        assert "Redis cannot be reached." in page.text
        assert "Store: answers. Redis: out. Workers: not known." in page.text
        assert "Brown bears" in page.text, "the store can tell that"
        assert (page.refresh, "None yet. POST" in page.text) == (None, False)
        shutil.rmtree(tmp_path / "store")
        page = Page(httpx.get(process.url, timeout=30))
        assert "The object store cannot be reached." in page.text
        assert "Store: out. Redis: out." in page.text
        assert not {"curl", "Traceback", str(tmp_path)} & set(page.text.split())


def test_what_breaks_while_the_page_is_made_is_out_as_well(settings: Settings) -> None:
    parts = create_app(settings.model_copy(update={"redis_url": "redis://127.0.0.1:9/0"})).state.parts
    parts.store.put(JobRecord.key("job-1"), make_job().model_dump_json().encode())
    page = status_page(parts)
    assert (page.out, page.jobs, page.workers, page.unfinished) == (["redis"], None, None, None)
    assert page.projects and page.generators
    shutil.rmtree(settings.store_url.removeprefix("file://"))
    page = status_page(parts)
    assert (page.out, page.projects, page.generators) == (["redis", "store"], None, None)
