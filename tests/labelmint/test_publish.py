"""A generator that was trained is made known to the service by one command."""

from pathlib import Path

from models.checkpoint import half, load_tensors, save_tensors
from service.generators import find_generator
from service.projects import remove_project
from service.records import JobRecord, JobState, ProjectRecord
from service.requests import EncodeRequest, TrainRequest
from service.stores import FileStore
from tests.labelmint.test_cli import labelmint
from tests.workers.world import CLASSES, write_generator


def test_a_trained_generator_is_published(tmp_path: Path, store: FileStore) -> None:
    write_generator(tmp_path / "run")
    url = f"file://{tmp_path / 'store'}"
    done = labelmint(tmp_path, "generator", "publish", "run", "--id", "cats-16", LABELMINT_STORE_URL=url)
    assert done.returncode == 0, done.stderr
    assert url in done.stdout
    record = find_generator(store, "cats-16")
    assert record is not None
    assert (record.resolution, record.source, record.has_encoder) == (16, "trained", False)


def test_the_store_is_told_by_a_path_that_holds_everywhere(tmp_path: Path) -> None:
    """The default is one in the working directory, which may not be the service's."""
    write_generator(tmp_path / "run")
    for command in (["publish", "run", "--id", "cats"], ["import", "run/weights.safetensors"]):
        done = labelmint(tmp_path, "generator", *command)
        assert done.returncode == 0, done.stderr
        assert f"is in the store file://{tmp_path.resolve()}/data/store" in done.stdout
    assert (tmp_path / "data" / "store" / "generators" / "cats").is_dir()


def test_something_else_is_refused_in_one_line(tmp_path: Path) -> None:
    for folder, generator_id in (("nothing-here", "cats"), (".", "Cats and dogs")):
        done = labelmint(tmp_path, "generator", "publish", folder, "--id", generator_id)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_name_that_uploads_may_not_have_is_refused(tmp_path: Path, store: FileStore) -> None:
    write_generator(tmp_path / "run")
    for name in ("", "x" * 65, "cats\x1b[2J"):
        done = labelmint(tmp_path, "generator", "publish", "run", "--id", "cats", "--name", name)
        assert done.returncode == 2
        assert "--name: use at most 64 printable characters" in done.stderr
    assert find_generator(store, "cats") is None


def test_a_generator_that_is_needed_is_not_replaced(tmp_path: Path, store: FileStore) -> None:
    """Its projects' seeds have its resolution, their labelers know its features alone, and so do encoders."""
    write_generator(tmp_path / "run")
    write_generator(tmp_path / "other")
    weights = tmp_path / "other" / "weights.safetensors"
    tensors, facts = load_tensors(weights, "generator")
    save_tensors(weights, half(tensors), "generator", facts)
    url = f"file://{tmp_path / 'store'}"

    def publish(folder: str, generator_id: str) -> list[str]:
        done = labelmint(tmp_path, "generator", "publish", folder, "--id", generator_id, LABELMINT_STORE_URL=url)
        return done.stderr.strip().splitlines()

    (refusal,) = publish("run", "toy-bears")
    assert refusal == "Error: --id toy-bears: a generator that comes with labelmint has this id; choose another one"
    assert publish("run", "cats") == []
    first = find_generator(store, "cats")
    project = ProjectRecord(id="p1", name="Cats", generator="cats", seeds=[], classes=CLASSES)
    store.put(ProjectRecord.key("p1"), project.model_dump_json().encode())
    (refusal,) = publish("other", "cats")
    assert "--id cats: 1 project uses another generator with this id; choose another one" in refusal
    assert refusal.endswith("delete first: p1")
    assert publish("run", "cats") == []
    assert find_generator(store, "cats") == first
    remove_project(store, "p1")
    for request in (
        EncodeRequest(generator_id="cats"),
        TrainRequest(generator_id="lions", name="Lions", sha256="0", start="cats"),
    ):
        job = JobRecord(id="gen-1", request=request)
        store.put(JobRecord.key("gen-1"), job.model_dump_json().encode())
        (refusal,) = publish("other", "cats")
        assert refusal.startswith("Error: --id cats: 1 unfinished job uses another generator with this id")
        assert refusal.endswith("cancel first: gen-1")
        assert find_generator(store, "cats") == first
    ended = job.model_copy(update={"state": JobState.CANCELLED})
    store.put(JobRecord.key("gen-1"), ended.model_dump_json().encode())
    assert publish("other", "cats") == []
    second = find_generator(store, "cats")
    assert first is not None
    assert second is not None
    assert first.sha256 != second.sha256
